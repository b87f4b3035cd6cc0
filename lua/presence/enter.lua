#!lua
-- First half of a join, in the user's partition: the connection is going to be in a room.
--
-- KEYS[1] leases      zset  lease -> end, ms
-- KEYS[2] user        hash  the user's presence
-- KEYS[3] user.conns  hash  connection -> lease
-- KEYS[4] user.rooms  zset  <conn>\0<room>
-- ARGV[1] lease
-- ARGV[2] connection
-- ARGV[3] room
-- ARGV[4] most rooms of one connection, 0 for no bound
-- RETURNS {"gone"}, {"many"} or {"ok", version, presence JSON}
--
-- Before the room's half, so that whatever happens in between the sweep knows the room.
-- @include presence/_state

if not redis.call("ZSCORE", KEYS[1], ARGV[1]) then
  return { "gone" }
end
local member = ARGV[2] .. "\0" .. ARGV[3]
local most = tonumber(ARGV[4])
if most > 0 and not redis.call("ZSCORE", KEYS[4], member)
  and redis.call("ZLEXCOUNT", KEYS[4], "[" .. ARGV[2] .. "\0", "(" .. ARGV[2] .. "\1") >= most then
  return { "many" }
end
redis.call("ZADD", KEYS[4], 0, member)
local presence = read_presence(KEYS[2], KEYS[3], math.floor(clock_us() / 1000))
return { "ok", string.format("%.0f", presence.version), encode_presence(presence) }
