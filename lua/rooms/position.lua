#!lua
-- How far a room is, and what it is.
--
-- KEYS[1] room  hash  the room
-- RETURNS {} or {epoch, seq, rev, type, visibility, most members or 0}
--
-- Asked with the heartbeat, of each room that a shard has sockets in: what the bus lost of a silent room nothing newer shows.
-- What it is may have been changed: a node that puts back a room which Redis has lost must not bring back what it was before.

local room = redis.call("HMGET", KEYS[1], "epoch", "seq", "rev", "type", "visibility", "max")
return room[1] and { room[1], tonumber(room[2]), tonumber(room[3]), room[4], room[5], tonumber(room[6] or "0") } or {}
