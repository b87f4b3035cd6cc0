#!lua
-- A node's own lease: it is alive, and here is its name.
--
-- KEYS[1] nodes      set     nodes that have lived
-- KEYS[2] node       string  expires with the node's lease
-- KEYS[3] node.ends  hash    node -> end of its own lease, ms
-- ARGV[1] node
-- ARGV[2] what the node tells of itself, JSON
-- ARGV[3] lease_ms
-- RETURNS {revived: 0|1}, 1 where the lease was not there
--
-- One script, because a name without a lease is a dead node to whoever looks. The end is written down too, since a lease
-- that has expired no longer says when.

local revived = redis.call("EXISTS", KEYS[2]) == 0
local time = redis.call("TIME")
local ends_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
redis.call("SADD", KEYS[1], ARGV[1])
redis.call("SET", KEYS[2], ARGV[2], "PX", ARGV[3])
redis.call("HSET", KEYS[3], ARGV[1], string.format("%.0f", ends_ms))
return { revived and 1 or 0 }
