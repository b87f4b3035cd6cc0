#!lua
-- Ends a room: everybody is out of it, and nothing of it is left.
--
-- KEYS[1] room         hash    the room
-- KEYS[2] room.live    zset    <user>\0<conn>@<node>
-- KEYS[3] room.users   hash    user -> joined_ms, version, status and time last told here
-- KEYS[4] room.policy  hash    user -> role, mute, ban
-- KEYS[5] room.typing  hash    <user>\0<thread> -> started_ms, end_ms, room type
-- KEYS[6] room.changes stream  changes of membership, by rev
-- KEYS[7] room.history stream  what was said, by seq
-- KEYS[8] due          zset    what else ends by time
-- KEYS[9] channel      pubsub  who is in the room
-- KEYS[10] outbox      stream  what Postgres must hear of
-- ARGV[1] room
-- ARGV[2] most connections that the reply names
-- ARGV[3] most entries of the outbox, 0 where there is no archive
-- RETURNS {"missing"} or {"ok", id in the outbox or "", member...}: the connections that were in
--
-- What tells it is kept like every change of membership, until a room of the name begins.
-- One script, because whoever joins between the removal of the others and the end of the room would be in no room.
-- @include archive/_outbox
-- @include rooms/_state
-- @include moderation/_state

local outbox = outbox_of(KEYS[10], ARGV[3])
if is_closed(outbox) then
  return RESTORING
end
local room = redis.call("HMGET", KEYS[1], "epoch", "rev")
if not room[1] then
  return { "missing" }
end
local connections = redis.call("ZRANGE", KEYS[2], 0, ARGV[2] - 1)
redis.call("DEL", KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[7])
redis.call("ZREM", KEYS[8], "typing\0" .. ARGV[1], "count\0" .. ARGV[1])
local rev, now_ms = room[2] + 1, clock_ms()
change_membership(KEYS[6], KEYS[9], rev, table.concat({
  "x", room[1], string.format("%.0f", rev), string.format("%.0f", now_ms),
}, " ") .. "\n")
return receipt(record(outbox, "room_closed", now_ms, { room = ARGV[1] }), connections)
