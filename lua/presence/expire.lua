#!lua
-- A custom status has come to its end.
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
-- ARGV[2] keep_ms of a record that says nothing special
-- ARGV[3] most entries of the outbox, 0 where there is no archive
-- RETURNS {0} or {1, version, presence JSON, todo id or "", rooms JSON}
--
-- One script, because two sweeps may see the same end, and it is told once.
-- @include archive/_outbox
-- @include presence/_seen
-- @include presence/_state

local now_us = clock_us()
local now_ms = math.floor(now_us / 1000)
local until_ms = tonumber(redis.call("HGET", KEYS[1], "until") or "0")
if until_ms > now_ms then
  redis.call("ZADD", KEYS[4], until_ms, "status\0" .. ARGV[1])
  return { 0 }
end
redis.call("ZREM", KEYS[4], "status\0" .. ARGV[1])
if until_ms == 0 then
  return { 0 }
end
redis.call("HDEL", KEYS[1], "text", "emoji", "until")
local after = read_presence(KEYS[1], KEYS[2], now_ms)
expire_plain(KEYS[1], after, ARGV[2])
note(KEYS[7], after, ARGV[2], now_ms, "custom status ended", "its time", "")
local version, presence, todo, rooms = announce(KEYS[1], KEYS[3], KEYS[5], KEYS[6], ARGV[1], after, now_us)
record(outbox_of(KEYS[8], ARGV[3]), "status", now_ms, {
  user = ARGV[1], cause = "custom status ended", presence = presence_fields(after), conns = redis.call("HLEN", KEYS[2]),
})
return { 1, version, presence, todo, rooms }
