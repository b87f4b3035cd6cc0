#!lua
-- A node is dead: its connections in one partition pass from their leases into grace.
--
-- KEYS[1] node    set   the node's leases in this partition
-- KEYS[2] leases  zset  lease -> end, ms
-- KEYS[3] grace   zset  lease -> end, ms
-- ARGV[1] grace_ms
-- ARGV[2] most leases of one call
-- RETURNS {moved, more: 0|1}
--
-- One script, because a lease in neither set would never be swept; and moved only once: a lease that is in grace already
-- keeps its end, however many nodes bury the same one.

local time = redis.call("TIME")
local ends_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local moved, most = 0, tonumber(ARGV[2])
for _, lease in ipairs(redis.call("SMEMBERS", KEYS[1])) do
  if redis.call("ZREM", KEYS[2], lease) == 1 then
    redis.call("ZADD", KEYS[3], "NX", ends_ms, lease)
    moved = moved + 1
    if moved == most then
      return { moved, 1 }
    end
  end
end
return { moved, 0 }
