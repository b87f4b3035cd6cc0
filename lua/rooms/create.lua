#!lua
-- Makes a room, unless there is one of that name.
--
-- KEYS[1] room          hash    the room
-- KEYS[2] room.changes  stream  changes of membership, by rev; those of an earlier room of the name go
-- KEYS[3] room.history  stream  what was said, by seq; the same
-- KEYS[4] room.policy   hash    user -> role, mute, ban
-- KEYS[5] outbox        stream  what Postgres must hear of
-- ARGV[1] name
-- ARGV[2] id, a UUID
-- ARGV[3] type
-- ARGV[4] visibility
-- ARGV[5] most members, 0 for no bound
-- ARGV[6] epoch
-- ARGV[7] the user who is its admin, "" for none
-- ARGV[8] most entries of the outbox, 0 where there is no archive
-- RETURNS {made: 0|1, type, visibility, most members, created_ms, id in the outbox or ""}
--
-- One script, because two makers at once would give the room two epochs.
-- @include archive/_outbox
-- @include rooms/_state
-- @include moderation/_state

local outbox = outbox_of(KEYS[5], ARGV[8])
if is_closed(outbox) then
  return RESTORING
end
local made, now_ms = redis.call("EXISTS", KEYS[1]) == 0, clock_ms()
local id
if made then
  redis.call("DEL", KEYS[2], KEYS[3])
  redis.call("HSET", KEYS[1], "name", ARGV[1], "id", ARGV[2], "type", ARGV[3], "visibility", ARGV[4], "max", ARGV[5],
    "epoch", ARGV[6], "seq", "0", "rev", "0", "created", string.format("%.0f", now_ms))
  if ARGV[7] ~= "" then
    local policy = read_policy(KEYS[4], ARGV[7])
    policy.role = "admin"
    write_policy(KEYS[4], ARGV[7], policy, now_ms)
  end
  id = record(outbox, "room_created", now_ms, {
    room = ARGV[1], id = ARGV[2], type = ARGV[3], visibility = ARGV[4], max = tonumber(ARGV[5]),
    by = ARGV[7] ~= "" and ARGV[7] or nil, policy = ARGV[7] ~= "" and read_policy(KEYS[4], ARGV[7]) or nil,
  })
else
  redis.call("PERSIST", KEYS[1])
  redis.call("PERSIST", KEYS[4])
  if redis.call("HDEL", KEYS[1], "auto") == 1 then
    id = record(outbox, "room_kept", now_ms, { room = ARGV[1] })
  end
end
local field = redis.call("HMGET", KEYS[1], "type", "visibility", "max", "created")
-- A repeat waits for what it repeats.
return { made and 1 or 0, field[1], field[2], field[3], field[4], id or newest_in(outbox) }
