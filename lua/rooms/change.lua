#!lua
-- Changes what a room is for, who may find and join it, and how many it holds; from then on it lasts.
--
-- KEYS[1] room         hash    the room
-- KEYS[2] room.users   hash    user -> joined_ms, version, status and time last told here
-- KEYS[3] room.policy  hash    user -> role, mute, ban
-- KEYS[4] outbox       stream  what Postgres must hear of
-- ARGV[1] name
-- ARGV[2] type, "" for the same as before
-- ARGV[3] visibility, "" for the same as before
-- ARGV[4] most members, 0 for no bound, "" for the same as before
-- ARGV[5] most entries of the outbox, 0 where there is no archive
-- RETURNS {} where there is none, or {type, visibility, most members, created_ms, members, id in the outbox or ""}
--
-- One script, because a room that was made by joining it could run out between a look and the change. Written down each
-- time: who repeats it waits for what it repeats.
-- @include archive/_outbox
-- @include rooms/_state

local outbox = outbox_of(KEYS[4], ARGV[5])
if is_closed(outbox) then
  return RESTORING
end
if redis.call("EXISTS", KEYS[1]) == 0 then
  return {}
end
for index, name in ipairs({ "type", "visibility", "max" }) do
  local value = ({ ARGV[2], ARGV[3], ARGV[4] })[index]
  if value ~= "" then
    redis.call("HSET", KEYS[1], name, value)
  end
end
redis.call("PERSIST", KEYS[1])
redis.call("PERSIST", KEYS[3])
redis.call("HDEL", KEYS[1], "auto")
local room = redis.call("HMGET", KEYS[1], "type", "visibility", "max", "created")
local id = record(outbox, "room_changed", clock_ms(), {
  room = ARGV[1], type = room[1], visibility = room[2], max = tonumber(room[3] or "0"),
})
return { room[1], room[2], room[3] or "0", room[4], redis.call("HLEN", KEYS[2]), id }
