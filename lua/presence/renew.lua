#!lua
-- Extends the leases of one node's connections in one partition, creating none, and notes which users are active.
--
-- KEYS[1] leases  zset  lease -> end, ms
-- KEYS[2] due     zset  what else ends by time
-- ARGV[1] lease_ms
-- ARGV[2] away_ms: without activity for this long a user is away
-- ARGV[3..] lease, and idle_ms since the connection's last activity or "" where an earlier call told it; in turns
-- RETURNS {the leases that are not there}
--
-- Extends only: a lease that ended, or went with an emptied Redis, has to be registered anew
-- through the connection's own queue, or a beat could raise the dead. Nor does a beat wake a user who is away, since
-- nobody would be told.

local time = redis.call("TIME")
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local missing = {}
for i = 3, #ARGV, 2 do
  local lease, idle_ms = ARGV[i], ARGV[i + 1]
  if redis.call("ZSCORE", KEYS[1], lease) then
    redis.call("ZADD", KEYS[1], "XX", "GT", now_ms + ARGV[1], lease)
    if idle_ms ~= "" then
      local user = string.match(lease, "^%Z*%z%Z*%z(.*)$")
      redis.call("ZADD", KEYS[2], "XX", "GT", now_ms - idle_ms + ARGV[2], "away\0" .. user)
    end
  else
    missing[#missing + 1] = lease
  end
end
return missing
