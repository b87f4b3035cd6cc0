#!lua
-- Redis runs scripts and takes writes.
--
-- KEYS[1] check  string  written by this script alone
-- ARGV[1] expire_ms
-- RETURNS {1}
--
-- With a write, since a replica and a Redis out of memory answer reads.

redis.call("SET", KEYS[1], "1", "PX", ARGV[1])
return { 1 }
