#!lua
-- Second half of a leave, in the user's partition: the connection is no longer in the room.
--
-- KEYS[1] user.rooms  zset  <conn>\0<room>
-- KEYS[2] session     hash  user, conn, and the rooms that it has joined
-- ARGV[1] connection
-- ARGV[2] room
-- RETURNS {removed: 0|1}
--
-- After the room's half: a crash in between leaves a name that the sweep leaves again, silently.

if redis.call("HGET", KEYS[2], "conn") == ARGV[1] then
  redis.call("HDEL", KEYS[2], "room\0" .. ARGV[2])
end
return { redis.call("ZREM", KEYS[1], ARGV[1] .. "\0" .. ARGV[2]) }
