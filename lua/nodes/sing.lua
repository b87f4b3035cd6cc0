#!lua
-- A master runs scripts, takes writes, and publishes to the node.
--
-- KEYS[1] check    string  written by whoever looks whether Redis takes writes
-- KEYS[2] channel  pubsub  the node's own at this master
-- ARGV[1] expire_ms
-- RETURNS {1}
--
-- One script, so that what comes back over the bus says that the write was taken, too.

redis.call("SET", KEYS[1], "1", "PX", ARGV[1])
redis.call("SPUBLISH", KEYS[2], "b")
return { 1 }
