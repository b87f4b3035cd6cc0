#!lua
-- Keeps a connection's record true: what changes while the connection lasts.
--
-- KEYS[1] conn  hash  the connection's record
-- ARGV[1] transport
-- ARGV[2] latency_ms or ""
-- RETURNS {kept: 0|1}
--
-- One script, because a record that ended meanwhile must not come back as a piece of itself.

if redis.call("EXISTS", KEYS[1]) == 0 then
  return { 0 }
end
redis.call("HSET", KEYS[1], "transport", ARGV[1])
if ARGV[2] ~= "" then
  redis.call("HSET", KEYS[1], "latency", ARGV[2])
end
return { 1 }
