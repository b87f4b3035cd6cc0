#!lua flags=allow-oom
-- One node at a time writes the outboxes to Postgres: takes that office, keeps it, or gives it up.
--
-- KEYS[1] sink  string  who has it
-- ARGV[1] who asks
-- ARGV[2] lease_ms, 0 to give it up
-- RETURNS {held: 0|1}
--
-- One script, because a lease that ran out and is another's by now must be neither prolonged nor given up. A Redis that is
-- full runs it as well: whoever has the office makes place.

local holder = redis.call("GET", KEYS[1])
if holder and holder ~= ARGV[1] then
  return { 0 }
end
if ARGV[2] == "0" then
  redis.call("DEL", KEYS[1])
  return { 0 }
end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return { 1 }
