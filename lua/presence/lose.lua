#!lua
-- A connection lost its transport: its lease moves into grace.
--
-- KEYS[1] leases  zset  lease -> end, ms
-- KEYS[2] grace   zset  lease -> end, ms
-- ARGV[1] lease
-- ARGV[2] grace_ms
-- RETURNS {moved: 0|1}
--
-- One script, because a lease in neither set would never be swept.

if not redis.call("ZSCORE", KEYS[1], ARGV[1]) then
  return { 0 }
end
local time = redis.call("TIME")
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call("ZREM", KEYS[1], ARGV[1])
redis.call("ZADD", KEYS[2], now_ms + ARGV[2], ARGV[1])
return { 1 }
