#!lua
-- First half of a join, in the user's partition: the connection is going to be in a room.
--
-- KEYS[1] leases      zset    lease -> end, ms
-- KEYS[2] user        hash    the user's presence
-- KEYS[3] user.rooms  zset    <conn>\0<room>
-- KEYS[4] limit       string  when the bucket of the user's joins is full again, µs
-- ARGV[1] lease
-- ARGV[2] connection
-- ARGV[3] room
-- ARGV[4] most rooms of one connection, 0 for no bound
-- ARGV[5] interval_us between two tokens of that bucket, 0 where none are drawn
-- ARGV[6] burst: tokens of a full bucket
-- ARGV[7] owed: tokens that were used already, and are charged whatever comes of this
-- ARGV[8] wanted: tokens to be used later
-- RETURNS {"gone"|"many", granted, µs until one more token is there or 0} or the same with "ok", and
--   version, presence JSON behind
--
-- Before the room's half, so that whatever happens in between the sweep knows the room. What a join owes is charged by the
-- call that it makes anyway.
-- @include limits/_gcra
-- @include presence/_seen

local is_leased = redis.call("ZSCORE", KEYS[1], ARGV[1])
local member, most = ARGV[2] .. "\0" .. ARGV[3], tonumber(ARGV[4])
-- All rooms of the user are as many at least as those of one connection, and counted at once.
local is_over = is_leased and most > 0 and redis.call("ZCARD", KEYS[3]) >= most
  and not redis.call("ZSCORE", KEYS[3], member)
  and redis.call("ZLEXCOUNT", KEYS[3], "[" .. ARGV[2] .. "\0", "(" .. ARGV[2] .. "\1") >= most
local now_us = clock_us()
local granted, wait_us = 0, 0
if ARGV[5] ~= "0" then
  granted, wait_us = take(KEYS[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), now_us)
end
local wait = string.format("%d", wait_us)
if not is_leased or is_over then
  return { is_over and "many" or "gone", granted, wait }
end
redis.call("ZADD", KEYS[3], 0, member)
-- Whoever has a lease is here.
local presence = presence_of(read_user(KEYS[2]), true, math.floor(now_us / 1000))
return { "ok", granted, wait, string.format("%d", presence.version), encode_presence(presence) }
