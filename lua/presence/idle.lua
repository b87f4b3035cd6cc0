#!lua
-- No device of the user was active for long: whoever chose no status is away.
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
-- ARGV[2] most entries of the outbox, 0 where there is no archive
-- RETURNS {0} or {1, version, presence JSON, todo id or "", rooms JSON}
--
-- One script, because two sweeps may see the same silence, which is told once, and because an activity that a renewal
-- has just brought moves the end that is looked at here.
-- @include archive/_outbox
-- @include presence/_seen
-- @include presence/_state

local now_us = clock_us()
local now_ms = math.floor(now_us / 1000)
local idle_ms = redis.call("ZSCORE", KEYS[4], "away\0" .. ARGV[1])
if not idle_ms or tonumber(idle_ms) > now_ms then
  return { 0 }
end
redis.call("ZREM", KEYS[4], "away\0" .. ARGV[1])
local before = read_presence(KEYS[1], KEYS[2], now_ms)
if not before.live then
  return { 0 }
end
redis.call("HSET", KEYS[1], "away", string.format("%.0f", now_ms))
local after = read_presence(KEYS[1], KEYS[2], now_ms)
if before.status == after.status then
  return { 0 }
end
note(KEYS[7], after, "0", now_ms, "away", "nobody was active", "")
local version, presence, todo, rooms = announce(KEYS[1], KEYS[3], KEYS[5], KEYS[6], ARGV[1], after, now_us)
record(outbox_of(KEYS[8], ARGV[2]), "status", now_ms, {
  user = ARGV[1], cause = "inactivity", presence = presence_fields(after), conns = redis.call("HLEN", KEYS[2]),
})
return { 1, version, presence, todo, rooms }
