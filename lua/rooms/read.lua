#!lua
-- A room as the administration sees it.
--
-- KEYS[1] room        hash  the room
-- KEYS[2] room.users  hash  user -> joined_ms, version, status and time last told here
-- KEYS[3] room.live   zset  <user>\0<conn>@<node>
-- RETURNS {} or {name, type, visibility, most members, created_ms, members, id or "", connections}
--
-- One script, because a count beside another moment's room would be neither's.

local field = redis.call("HMGET", KEYS[1], "name", "type", "visibility", "max", "created", "id")
if not field[1] then
  return {}
end
return {
  field[1], field[2], field[3], field[4], field[5],
  redis.call("HLEN", KEYS[2]), field[6] or "", redis.call("ZCARD", KEYS[3]),
}
