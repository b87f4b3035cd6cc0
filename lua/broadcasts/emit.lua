#!lua
-- Tells whoever is in a room an event that the gateway has no part in, once per id.
--
-- KEYS[1] room          hash    the room
-- KEYS[2] room.live     zset    <user>\0<conn>@<node>
-- KEYS[3] room.emitted  string  this room has been told the event of this id
-- KEYS[4] channel       pubsub  who is in the room
-- KEYS[5] outbox        stream  what Postgres must hear of
-- ARGV[1] keep_ms of the id
-- ARGV[2] what tells a connection in several rooms that it is the same event, "-" where there is one room
-- ARGV[3] the event's name, a line feed, and its payload as JSON
-- ARGV[4] most entries of the outbox, 0 where there is no archive
-- ARGV[5] most members that are named, 0 where nobody asks who they are
-- RETURNS {told now: 0|1, number of connections, member...}: those that are in; no members where there are more than are named
--
-- One script, because an id that is kept and not told would never be told, and one that is told and not kept would be told
-- again. A repeat says who is in now: it is made where nobody knows what the first try came to. The frame says how far the room
-- is: a user who comes in behind that does not hear it. One more connection of a user who is in already raises no number: it
-- may hear what was told since the last one that did.
-- @include archive/_outbox

if is_closed(outbox_of(KEYS[5], ARGV[4])) then
  return RESTORING
end
local room = redis.call("HMGET", KEYS[1], "epoch", "seq", "rev")
if not room[1] then
  return { 0, 0 }
end
local connections = redis.call("ZCARD", KEYS[2])
local reply = { 0, connections }
if connections <= tonumber(ARGV[5]) then
  for _, member in ipairs(redis.call("ZRANGE", KEYS[2], 0, -1)) do
    reply[#reply + 1] = member
  end
end
if redis.call("SET", KEYS[3], "1", "NX", "PX", ARGV[1]) then
  reply[1] = 1
  redis.call("SPUBLISH", KEYS[4], table.concat({ "e", room[1], room[2], room[3], ARGV[2] }, " ") .. "\n" .. ARGV[3])
end
return reply
