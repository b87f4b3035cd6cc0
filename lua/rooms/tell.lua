#!lua
-- Tells one room a change of a member's presence, once per version.
--
-- KEYS[1] room.users  hash    user -> joined_ms, version and status last told here
-- KEYS[2] channel     pubsub  who is in the room
-- ARGV[1] user
-- ARGV[2] presence version
-- ARGV[3] presence JSON
-- ARGV[4] status
-- ARGV[5] presence limit
-- RETURNS {told: 0|1, member: 0|1}
--
-- One script, because the repeat of a step is silent and an overtaken one is dropped only if
-- the version is compared and kept in the moment of the telling.

local known = redis.call("HGET", KEYS[1], ARGV[1])
if not known then
  return { 0, 0 }
end
local joined_ms, told = string.match(known, "^(%d+) (%d+) ")
if tonumber(ARGV[2]) <= tonumber(told) then
  return { 0, 1 }
end
redis.call("HSET", KEYS[1], ARGV[1], joined_ms .. " " .. ARGV[2] .. " " .. ARGV[4])
if redis.call("HLEN", KEYS[1]) > tonumber(ARGV[5]) then
  return { 0, 1 }
end
redis.call("SPUBLISH", KEYS[2], table.concat({ "p " .. ARGV[2] .. " -", ARGV[1], "[]", ARGV[3] }, "\n"))
return { 1, 1 }
