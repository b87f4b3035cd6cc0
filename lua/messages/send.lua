#!lua
-- A member says something in a room.
--
-- KEYS[1] room         hash    the room
-- KEYS[2] room.live    zset    <user>\0<conn>@<node>
-- KEYS[3] room.policy  hash    user -> role, mute, ban
-- KEYS[4] room.dedupe  string  the ack of the send with this client message id
-- KEYS[5] channel      pubsub  who is in the room
-- ARGV[1] user
-- ARGV[2] member
-- ARGV[3] the event's JSON object without its end: what the server adds comes behind
-- ARGV[4] dedupe_ms, 0 where the client gave no id
-- ARGV[5] only listens: 0|1
-- RETURNS {"missing"|"banned"|"stranger"|"muted"|"forbidden"} or {"ok", duplicate: 0|1, epoch, seq, now_ms}
--
-- One script, because a number that is drawn and not published is a gap, and a message that
-- is published before the check of a ban that came first is one too many.
-- @include rooms/_state

local room = redis.call("HMGET", KEYS[1], "type", "epoch", "visibility")
if not room[1] then
  return { "missing" }
end
local now_ms = clock_ms()
local policy = redis.call("HGET", KEYS[3], ARGV[1])
policy = policy and cjson.decode(policy) or {}
local is_member = redis.call("ZSCORE", KEYS[2], ARGV[2])
if room[3] == "secret" and not policy.role and not is_member then
  return { "missing" }
end
if policy.ban and (policy.ban == 0 or policy.ban > now_ms) then
  return { "banned" }
end
if not is_member then
  return { "stranger" }
end
if policy.mute and (policy.mute == 0 or policy.mute > now_ms) then
  return { "muted" }
end
local speaks = room[1] ~= "broadcast" or policy.role == "admin" or policy.role == "moderator"
if ARGV[5] == "1" or not speaks then
  return { "forbidden" }
end
local keeps = tonumber(ARGV[4]) > 0
local before = keeps and redis.call("GET", KEYS[4])
if before then
  local epoch, seq, sent_ms = string.match(before, "^(%S+) (%d+) (%d+)$")
  return { "ok", 1, epoch, tonumber(seq), sent_ms }
end

local seq = redis.call("HINCRBY", KEYS[1], "seq", 1)
local stamp = room[2] .. " " .. string.format("%.0f", seq) .. " " .. string.format("%.0f", now_ms)
if keeps then
  redis.call("SET", KEYS[4], stamp, "PX", ARGV[4])
end
redis.call("SPUBLISH", KEYS[5], "m " .. stamp .. "\n" .. ARGV[3])
return { "ok", 0, room[2], seq, string.format("%.0f", now_ms) }
