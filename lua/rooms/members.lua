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
-- By lexical ranges, since a page of a hash has no size that one could promise.

local limit = tonumber(ARGV[2])
local is_member = ARGV[3] == "" or redis.call("ZSCORE", KEYS[1], ARGV[3])
local reply = { is_member and 1 or 0, 0 }
if not is_member then
  return reply
end
local from = ARGV[1] == "" and "-" or "(" .. ARGV[1] .. "\1"
local found = 0
for _ = 1, limit + 1 do
  local member = redis.call("ZRANGEBYLEX", KEYS[1], from, "+", "LIMIT", 0, 1)[1]
  if not member then
    break
  end
  if found == limit then
    reply[2] = 1
    break
  end
  local user = string.sub(member, 1, string.find(member, "\0", 1, true) - 1)
  local joined_ms, _, status = string.match(redis.call("HGET", KEYS[2], user) or "", "^(%d+) (%d+) (%S+)")
  reply[#reply + 1] = user
  reply[#reply + 1] = joined_ms or "0"
  reply[#reply + 1] = status or "online"
  found = found + 1
  from = "(" .. user .. "\1"
end
return reply
