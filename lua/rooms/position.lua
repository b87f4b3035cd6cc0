#!lua
-- How far a room is.
--
-- KEYS[1] room  hash  the room
-- RETURNS {} or {epoch, seq, rev}
--
-- Asked with the heartbeat, of each room that a shard has sockets in: what the bus lost of a silent room nothing newer shows.

local room = redis.call("HMGET", KEYS[1], "epoch", "seq", "rev")
return room[1] and { room[1], tonumber(room[2]), tonumber(room[3]) } or {}
