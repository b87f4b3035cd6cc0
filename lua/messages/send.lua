#!lua
-- A member says something in a room.
--
-- KEYS[1] room          hash    the room
-- KEYS[2] room.live     zset    <user>\0<conn>@<node>
-- KEYS[3] room.policy   hash    user -> role, mute, ban
-- KEYS[4] room.dedupe   string  the ack of the send with this client message id
-- KEYS[5] channel       pubsub  who is in the room
-- KEYS[6] room.history  stream  what was said, by seq
-- KEYS[7] limit         string  when this user's bucket in this room is full again, µs
-- KEYS[8] said          hash    master -> position of the last message that it wrote in the partition
-- KEYS[9] outbox        stream  what Postgres must hear of
-- ARGV[1] user
-- ARGV[2] member
-- ARGV[3] the event's JSON object without its end: what the server adds comes behind
-- ARGV[4] dedupe_ms, 0 where the client gave no id
-- ARGV[5] only listens: 0|1
-- ARGV[6] replication id of the master that runs this, or ""
-- ARGV[7] most messages kept
-- ARGV[8] most bytes kept
-- ARGV[9] history_ttl_ms
-- ARGV[10] the latest position that the node has heard of, µs: this one stands behind it, whatever the clock says
-- ARGV[11] what the node calls this send
-- ARGV[12] the node has tried it before, and does not know the outcome: 0|1
-- ARGV[13] interval_us between two messages of one user in one room, 0 for no rate
-- ARGV[14] burst of that rate
-- ARGV[15] a message over the rate is let through, and told of: 0|1
-- ARGV[16] most entries of the outbox, 0 where there is no archive
-- ARGV[17] what is said is kept in Postgres: 0|1
-- ARGV[18] room
-- RETURNS {"missing"|"banned"|"stranger"|"muted"|"forbidden"} or {"limited", µs until one may be said} or
--   {"ok", duplicate: 0|1, epoch, seq, now_ms, over: 0|1}
--
-- One script, because a number that is drawn and not published is a gap, and a message that
-- is published before the check of a ban that came first is one too many.
-- @include archive/_outbox
-- @include rooms/_state
-- @include messages/_state
-- @include limits/_gcra

local outbox = outbox_of(KEYS[9], ARGV[16])
if is_closed(outbox) then
  return RESTORING
end
local room = redis.call("HMGET", KEYS[1], "type", "visibility", "pos")
if not room[1] then
  return { "missing" }
end
local now_ms = clock_ms()
local policy = redis.call("HGET", KEYS[3], ARGV[1])
policy = policy and cjson.decode(policy) or {}
local is_member = redis.call("ZSCORE", KEYS[2], ARGV[2])
if room[2] == "secret" and not policy.role and not is_member then
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
  local epoch, seq, sent_ms, token = string.match(before, "^(%S+) (%d+) (%d+) ?(%S*)$")
  return { "ok", token == ARGV[11] and 0 or 1, epoch, tonumber(seq), sent_ms, 0 }
end
if ARGV[12] == "1" and not keeps then
  for _, entry in ipairs(redis.call("XREVRANGE", KEYS[6], "+", "-", "COUNT", 100)) do
    local epoch, seq, sent_ms, token = string.match(entry[2][2], "^m (%S+) (%d+) (%d+) %S+ (%S+)\n")
    if token == ARGV[11] then
      return { "ok", 0, epoch, tonumber(seq), sent_ms, 0 }
    end
  end
end

-- Behind what was said before: a repeat of that costs nothing, and is answered however much was said since.
local interval_us, over = tonumber(ARGV[13]), false
if interval_us > 0 then
  local granted, wait_us = take(KEYS[7], interval_us, tonumber(ARGV[14]), 0, 1, clock_us())
  over = granted == 0
  if over and ARGV[15] == "0" then
    return { "limited", string.format("%.0f", wait_us) }
  end
end

local epoch = write_epoch(KEYS[1], ARGV[6])
local seq = redis.call("HINCRBY", KEYS[1], "seq", 1)
local position = math.max(clock_us(), tonumber(room[3] or "0") + 1, ARGV[10] + 1)
redis.call("HSET", KEYS[1], "pos", string.format("%.0f", position))
local stamp = epoch .. " " .. string.format("%.0f", seq) .. " " .. string.format("%.0f", now_ms)
if keeps then
  redis.call("SET", KEYS[4], stamp .. " " .. ARGV[11], "PX", ARGV[4])
end
local by, at_us = string.sub(ARGV[6], 1, 8), string.format("%.0f", position)
-- Masters are few; should they not be, whoever comes back from one that is forgotten is told so.
if redis.call("HSET", KEYS[8], by, at_us) == 1 and redis.call("HLEN", KEYS[8]) > 16 then
  redis.call("DEL", KEYS[8])
end
redis.call("PEXPIRE", KEYS[8], ARGV[9])
local place = by .. "." .. at_us
local frame = "m " .. stamp .. " " .. place .. " " .. ARGV[11] .. "\n" .. ARGV[3]
keep_message(KEYS[6], KEYS[1], seq, frame, tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9])
redis.call("SPUBLISH", KEYS[5], frame)
if ARGV[17] == "1" then
  record(outbox, "message", now_ms, {
    room = ARGV[18], user = ARGV[1], epoch = epoch, seq = seq, token = ARGV[11], json = ARGV[3] .. "}",
  })
end
return { "ok", 0, epoch, seq, string.format("%.0f", now_ms), over and 1 or 0 }
