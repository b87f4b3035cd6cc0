#!lua
-- A large room's count is due.
--
-- KEYS[1] room        hash    the room
-- KEYS[2] room.users  hash    user -> joined_ms, version, status and time last told here
-- KEYS[3] due         zset    what else ends by time
-- KEYS[4] channel     pubsub  who is in the room
-- ARGV[1] room
-- ARGV[2] count_every_ms
-- RETURNS {told: 0|1}
--
-- One script, because two sweeps may see the same end, and it is told once.
-- @include rooms/_state

if not redis.call("ZSCORE", KEYS[3], "count\0" .. ARGV[1]) then
  return { 0 }
end
redis.call("ZREM", KEYS[3], "count\0" .. ARGV[1])
if redis.call("EXISTS", KEYS[1]) == 0 then
  return { 0 }
end
local told = publish_count(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], clock_ms(), tonumber(ARGV[2]))
return { told and 1 or 0 }
