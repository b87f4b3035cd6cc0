#!lua
-- The rooms of a session that somebody wants to recover, and from where in each.
--
-- KEYS[1] session  hash  user, conn, and the rooms that it has joined
-- ARGV[1] user
-- RETURNS {known: 0|1, (room, epoch, seq)...}
--
-- One script, because a session is its user's alone.

local fields = redis.call("HGETALL", KEYS[1])
local reply, is_theirs = { 1 }, false
for i = 1, #fields, 2 do
  local room = string.match(fields[i], "^room%z(.*)$")
  if fields[i] == "user" then
    is_theirs = fields[i + 1] == ARGV[1]
  elseif room then
    local epoch, seq = string.match(fields[i + 1], "^(%S+) (%d+)$")
    reply[#reply + 1] = room
    reply[#reply + 1] = epoch
    reply[#reply + 1] = seq
  end
end
return is_theirs and reply or { 0 }
