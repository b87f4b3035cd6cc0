#!lua
-- A connection lost its transport: its lease moves into grace.
--
-- KEYS[1] leases      zset  lease -> end, ms
-- KEYS[2] grace       zset  lease -> end, ms
-- KEYS[3] user        hash  the user's presence
-- KEYS[4] user.conns  hash  connection -> lease
-- KEYS[5] user.log    list  the last transitions of the user
-- KEYS[6] conn        hash  the connection's record
-- KEYS[7] outbox      stream  what Postgres must hear of
-- ARGV[1] lease
-- ARGV[2] connection
-- ARGV[3] grace_ms
-- ARGV[4] cause, for whoever asks why
-- ARGV[5] user
-- ARGV[6] most entries of the outbox, 0 where there is no archive
-- RETURNS {moved: 0|1}
--
-- One script, because a lease in neither set would never be swept.
-- @include archive/_outbox
-- @include presence/_seen
-- @include presence/_state

if not redis.call("ZSCORE", KEYS[1], ARGV[1]) then
  return { 0 }
end
local now_ms = math.floor(clock_us() / 1000)
redis.call("ZREM", KEYS[1], ARGV[1])
redis.call("ZADD", KEYS[2], now_ms + ARGV[3], ARGV[1])
note(KEYS[5], read_presence(KEYS[3], KEYS[4], now_ms), "0", now_ms, "lost", ARGV[4], ARGV[2])
if redis.call("EXISTS", KEYS[6]) == 1 then
  redis.call("HSET", KEYS[6], "lost", ARGV[4])
end
record(outbox_of(KEYS[7], ARGV[6]), "lost", now_ms, { user = ARGV[5], conn = ARGV[2], cause = ARGV[4] })
return { 1 }
