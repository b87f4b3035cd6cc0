#!lua
-- A user types, until the mark runs out, is taken back, or the user leaves.
--
-- KEYS[1] room         hash    the room
-- KEYS[2] room.live    zset    <user>\0<conn>@<node>
-- KEYS[3] room.policy  hash    user -> role, mute, ban
-- KEYS[4] room.typing  hash    <user>\0<thread> -> started_ms, end_ms, room type
-- KEYS[5] due          zset    what else ends by time
-- KEYS[6] channel      pubsub  who is in the room
-- ARGV[1] room
-- ARGV[2] user
-- ARGV[3] member
-- ARGV[4] thread or ""
-- ARGV[5] room type or "", echoed
-- ARGV[6] timeout_ms
-- ARGV[7] most marks of a room
-- RETURNS {"ok"|"missing"|"banned"|"stranger"|"muted"|"full"}
--
-- One script, because a mark without its entry in due would never run out.
-- @include rooms/_state
-- @include typing/_state

local visibility = redis.call("HGET", KEYS[1], "visibility")
if not visibility then
  return { "missing" }
end
local now_ms = clock_ms()
local policy = redis.call("HGET", KEYS[3], ARGV[2])
policy = policy and cjson.decode(policy) or {}
local is_member = redis.call("ZSCORE", KEYS[2], ARGV[3])
if visibility == "secret" and not policy.role and not is_member then
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
local mark = ARGV[2] .. "\0" .. ARGV[4]
local known = redis.call("HGET", KEYS[4], mark)
if not known and redis.call("HLEN", KEYS[4]) >= tonumber(ARGV[7]) then
  return { "full" }
end
local started_ms, ends_ms = string.match(known or "", "^(%d+) (%d+) ")
if not ends_ms or tonumber(ends_ms) <= now_ms then
  started_ms = string.format("%.0f", now_ms)
end
ends_ms = now_ms + ARGV[6]
redis.call("HSET", KEYS[4], mark, started_ms .. " " .. string.format("%.0f", ends_ms) .. " " .. ARGV[5])
redis.call("ZADD", KEYS[5], "LT", ends_ms, "typing\0" .. ARGV[1])
publish_typing(KEYS[4], KEYS[6], ARGV[4], ARGV[5], ARGV[2], now_ms)
return { "ok" }
