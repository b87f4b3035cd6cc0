#!lua
-- Asks a node to go away.
--
-- KEYS[1] node        string  what the node tells of itself
-- KEYS[2] node.drain  string  the node is asked to drain
-- ARGV[1] keep_ms
-- RETURNS {asked: 0|1}, 0 where no such node lives
--
-- A key that the node's beat reads, and no word on the bus: it is there as well when the node's connections come back, and
-- asking twice is asking once. One script, because a request to a node that has died would wait for the next of its name.

if redis.call("EXISTS", KEYS[1]) == 0 then
  return { 0 }
end
redis.call("SET", KEYS[2], "1", "PX", ARGV[1])
return { 1 }
