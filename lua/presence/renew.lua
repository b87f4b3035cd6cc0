#!lua
-- Extends the leases of one node's connections in one partition; creates none.
--
-- KEYS[1] leases  zset  lease -> end, ms
-- ARGV[1] lease_ms
-- ARGV[2..] leases
-- RETURNS {the leases that are not there}
--
-- Extends only: a lease that ended, or went with an emptied Redis, has to be registered anew
-- through the connection's own queue, or a beat could raise the dead.

local time = redis.call("TIME")
local ends_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local missing = {}
for i = 2, #ARGV do
  if redis.call("ZSCORE", KEYS[1], ARGV[i]) then
    redis.call("ZADD", KEYS[1], "XX", "GT", ends_ms, ARGV[i])
  else
    missing[#missing + 1] = ARGV[i]
  end
end
return missing
