#!lua
-- Second half of a leave, in the user's partition: the connection is no longer in the room.
--
-- KEYS[1] user.rooms  zset  <conn>\0<room>
-- ARGV[1] connection
-- ARGV[2] room
-- RETURNS {removed: 0|1}
--
-- After the room's half: a crash in between leaves a name that the sweep leaves again, silently.

return { redis.call("ZREM", KEYS[1], ARGV[1] .. "\0" .. ARGV[2]) }
