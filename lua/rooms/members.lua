#!lua
-- One page of a room's members, in the order of their ids.
--
-- KEYS[1] room.live   zset  <user>\0<conn>@<node>
-- KEYS[2] room.users  hash  user -> joined_ms, version, status and time last told here
-- ARGV[1] the user after whom the page begins, "" for the first page
-- ARGV[2] limit, users
-- ARGV[3] member that has to be in the room for an answer, "" for none
-- RETURNS {is member: 0|1, more: 0|1, (user, joined_ms, status)...}
--
-- One script, since who joins or leaves between two of its steps would be there twice, or without an entry.
-- @include rooms/_page

local is_member = ARGV[3] == "" or redis.call("ZSCORE", KEYS[1], ARGV[3])
local reply = { is_member and 1 or 0, 0 }
if not is_member then
  return reply
end
local page, more = page_of(KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2]))
reply[2] = more and 1 or 0
for i = 1, #page, 2 do
  local joined_ms, _, status = string.match(page[i + 1], "^(%d+) (%d+) (%S+)")
  reply[#reply + 1] = page[i]
  reply[#reply + 1] = joined_ms or "0"
  reply[#reply + 1] = status or "online"
end
return reply
