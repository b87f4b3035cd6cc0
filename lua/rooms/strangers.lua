#!lua
-- Which of a node's connections are no members of a room.
--
-- KEYS[1] room.live  zset  <user>\0<conn>@<node>
-- ARGV[1..] members
-- RETURNS {index of each that is none, counted from 1}
--
-- Asked where a node cannot tell from the changes who was sent away.

local strangers = {}
for index = 1, #ARGV do
  if not redis.call("ZSCORE", KEYS[1], ARGV[index]) then
    strangers[#strangers + 1] = index
  end
end
return strangers
