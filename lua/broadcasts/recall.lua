#!lua
-- What an event of this id came to: the first word on it stays.
--
-- KEYS[1] emitted  string  how many connections it went to
-- ARGV[1] how many it went to, or "" to ask
-- ARGV[2] keep_ms
-- RETURNS {} where nobody knows, or {number of connections}
--
-- One script, because of two who say the same event at once both must answer what the first of them found.

local known = redis.call("GET", KEYS[1])
if known then
  return { known }
end
if ARGV[1] == "" then
  return {}
end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return { ARGV[1] }
