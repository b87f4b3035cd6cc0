#!lua
-- A device of a user who was away is active again.
--
-- KEYS[1] user        hash    the user's presence
-- KEYS[2] user.conns  hash    connection -> lease
-- KEYS[3] user.rooms  zset    <conn>\0<room>
-- KEYS[4] due         zset    what else ends by time
-- KEYS[5] todo        stream  rooms that must still be told
-- KEYS[6] channel     pubsub  who listens to this user
-- KEYS[7] user.log    list    the last transitions of the user
-- KEYS[8] outbox      stream  what Postgres must hear of
-- ARGV[1] user
-- ARGV[2] away_ms: without activity for this long the user is away
-- ARGV[3] most entries of the outbox, 0 where there is no archive
-- RETURNS {0} or {1, version, presence JSON, todo id or "", rooms JSON}
--
-- One script, because two devices may wake at once, which is told once, and because a user who is awake without an
-- entry in due would never be away again.
-- @include archive/_outbox
-- @include presence/_seen
-- @include presence/_state

local now_us = clock_us()
local now_ms = math.floor(now_us / 1000)
local before = read_presence(KEYS[1], KEYS[2], now_ms)
if not before.live then
  return { 0 }
end
redis.call("ZADD", KEYS[4], "GT", now_ms + ARGV[2], "away\0" .. ARGV[1])
redis.call("HDEL", KEYS[1], "away")
local after = read_presence(KEYS[1], KEYS[2], now_ms)
if before.status == after.status then
  return { 0 }
end
note(KEYS[7], after, "0", now_ms, "active", "an event", "")
local version, presence, todo, rooms = announce(KEYS[1], KEYS[3], KEYS[5], KEYS[6], ARGV[1], after, now_us)
record(outbox_of(KEYS[8], ARGV[3]), "status", now_ms, {
  user = ARGV[1], cause = "activity", presence = presence_fields(after), conns = redis.call("HLEN", KEYS[2]),
})
return { 1, version, presence, todo, rooms }
