#!lua
-- A connection leaves a room: first half of a leave, or what follows from the end of a connection.
--
-- KEYS[1] room         hash    the room
-- KEYS[2] room.live    zset    <user>\0<conn>@<node>
-- KEYS[3] room.users   hash    user -> joined_ms, version, status and time last told here
-- KEYS[4] room.typing  hash    <user>\0<thread> -> started_ms, end_ms, room type
-- KEYS[5] tombstone    string  this connection has ended
-- KEYS[6] due          zset    what else ends by time
-- KEYS[7] channel      pubsub  who is in the room
-- KEYS[8] room.changes stream  changes of membership, by rev
-- KEYS[9] room.policy hash    user -> role, mute, ban
-- KEYS[10] outbox      stream  what Postgres must hear of
-- ARGV[1] room
-- ARGV[2] user
-- ARGV[3] member
-- ARGV[4] reason: left|disconnected|kicked|banned
-- ARGV[5] presence version that went with it, "0" for none
-- ARGV[6] presence JSON or ""
-- ARGV[7] presence limit
-- ARGV[8] count_every_ms
-- ARGV[9] tombstone_ms, 0 where the connection lives on
-- ARGV[10] keep_ms of an empty room that was made by joining it
-- ARGV[11] replication id of the master that runs this, or ""
-- ARGV[12] most entries of the outbox, 0 where there is no archive
-- RETURNS {"missing"} or {"ok", removed: 0|1, last: 0|1, rev, epoch, seq}
--
-- One script, because "the user's last connection here" has to be asked in the moment of the
-- removal: two tabs that leave at once would both, or neither, be the last.
-- @include archive/_outbox
-- @include rooms/_state
-- @include typing/_state
-- @include rooms/_departure

if tonumber(ARGV[9]) > 0 then
  redis.call("SET", KEYS[5], "1", "PX", ARGV[9])
end
local room = redis.call("HMGET", KEYS[1], "epoch", "rev", "seq", "visibility")
if not room[1] then
  return { "missing" }
end
if redis.call("ZREM", KEYS[2], ARGV[3]) == 0 then
  if room[4] == "secret" and not is_live(KEYS[2], ARGV[2]) then
    return { "missing" }
  end
  return { "ok", 0, 0, tonumber(room[2]), room[1], tonumber(room[3]) }
end
local outbox, now_ms = outbox_of(KEYS[10], ARGV[12]), clock_ms()
local conn, node = whereabouts(ARGV[3])
local what = { room = ARGV[1], user = ARGV[2], conn = conn, node = node, reason = ARGV[4], last = false }
if is_live(KEYS[2], ARGV[2]) then
  record(outbox, "leave", now_ms, what)
  -- Two connections that end at once leave in any order: the presence that went with the user's last one is told here, also
  -- where the membership goes with the other.
  if ARGV[6] ~= "" then
    tell_presence(KEYS[3], KEYS[7], ARGV[2], ARGV[5], ARGV[6], cjson.decode(ARGV[6]).status, ARGV[7])
  end
  return { "ok", 1, 0, tonumber(room[2]), room[1], tonumber(room[3]) }
end

local rev, epoch, ends_ms = depart({
  room = KEYS[1], users = KEYS[3], policy = KEYS[9], typing = KEYS[4], due = KEYS[6], channel = KEYS[7], changes = KEYS[8],
}, ARGV[1], ARGV[2], { version = ARGV[5], json = ARGV[6] }, ARGV[4], now_ms,
  { limit = ARGV[7], every_ms = ARGV[8], keep_ms = ARGV[10] }, ARGV[11])
local policy = redis.call("HGET", KEYS[9], ARGV[2])
what.last, what.ends, what.policy = true, ends_ms, policy and cjson.decode(policy) or nil
record(outbox, "leave", now_ms, what)
return { "ok", 1, 1, rev, epoch, tonumber(room[3]) }
