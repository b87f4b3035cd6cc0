#!lua
-- Tells every node to send away some sockets.
--
-- KEYS[1] channel  pubsub  what every node hears
-- ARGV[1..] id: of a socket, or of a connection
-- RETURNS {1}
--
-- One script like all that speaks on the bus. It changes nothing: whoever holds a socket ends it, and whoever asks looks
-- whether it has.

redis.call("SPUBLISH", KEYS[1], "d\n" .. table.concat(ARGV, "\n", 1, #ARGV))
return { 1 }
