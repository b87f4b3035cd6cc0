#!lua
-- Tells every node to send away some connections.
--
-- KEYS[1] channel  pubsub  what every node hears
-- ARGV[1..] connection
-- RETURNS {1}
--
-- One script like all that speaks on the bus. It changes nothing: whoever holds a connection ends it, and whoever asks looks
-- whether it has.

redis.call("SPUBLISH", KEYS[1], "d\n" .. table.concat(ARGV, "\n", 1, #ARGV))
return { 1 }
