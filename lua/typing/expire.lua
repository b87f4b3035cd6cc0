#!lua
-- Marks of a room may have run out: takes them back, and tells each thread once.
--
-- KEYS[1] room.typing  hash    <user>\0<thread> -> started_ms, end_ms, room type
-- KEYS[2] due          zset    what else ends by time
-- KEYS[3] channel      pubsub  who is in the room
-- ARGV[1] room
-- RETURNS {ended, the number of marks}
--
-- One script, because two sweeps may see the same end, and it is told once.
-- @include rooms/_state
-- @include typing/_state

local now_ms = clock_ms()
local ended, next_ms, threads = 0, nil, {}
local flat = redis.call("HGETALL", KEYS[1])
for i = 1, #flat, 2 do
  local ends_ms, room_type = string.match(flat[i + 1], "^%d+ (%d+) (.*)$")
  if tonumber(ends_ms) > now_ms then
    next_ms = math.min(next_ms or tonumber(ends_ms), tonumber(ends_ms))
  else
    local user, thread = string.match(flat[i], "^(%Z*)%z(%Z*)$")
    redis.call("HDEL", KEYS[1], flat[i])
    threads[thread] = { room_type, threads[thread] and "" or user }
    ended = ended + 1
  end
end
if next_ms then
  redis.call("ZADD", KEYS[2], next_ms, "typing\0" .. ARGV[1])
else
  redis.call("ZREM", KEYS[2], "typing\0" .. ARGV[1])
end
for thread, told in pairs(threads) do
  publish_typing(KEYS[1], KEYS[3], thread, told[1], told[2], now_ms)
end
return { ended }
