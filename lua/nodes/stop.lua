#!lua
-- A node has ended by itself: it is struck off, and nobody takes it for dead.
--
-- KEYS[1] nodes       set     nodes that have lived
-- KEYS[2] node        string  expires with the node's lease
-- KEYS[3] node.ends   hash    node -> end of its own lease, ms
-- KEYS[4] node.drain  string  the node is asked to drain
-- ARGV[1] node
-- RETURNS {was there: 0|1}
--
-- One script, because a name without a lease is a dead node to whoever looks.

local was_there = redis.call("SREM", KEYS[1], ARGV[1])
redis.call("DEL", KEYS[2], KEYS[4])
redis.call("HDEL", KEYS[3], ARGV[1])
return { was_there }
