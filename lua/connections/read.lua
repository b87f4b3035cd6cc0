#!lua
-- A connection as the administration sees it.
--
-- KEYS[1] leases      zset  lease -> end, ms
-- KEYS[2] grace       zset  lease -> end, ms
-- KEYS[3] conn        hash  the connection's record
-- KEYS[4] user.rooms  zset  <conn>\0<room>
-- ARGV[1] lease
-- ARGV[2] connection
-- RETURNS {} or {"live"|"grace", end_ms, rooms, connected_ms, socket, transport, ip, agent, device, session, latency_ms,
--   lost}; "" where a field is not there
--
-- One script, because a record beside the lease of another moment would show what is gone, or call what is lost alive.

local leased_ms = redis.call("ZSCORE", KEYS[1], ARGV[1])
local end_ms = leased_ms or redis.call("ZSCORE", KEYS[2], ARGV[1])
if not end_ms or redis.call("EXISTS", KEYS[3]) == 0 then
  return {}
end
local rooms = redis.call("ZLEXCOUNT", KEYS[4], "[" .. ARGV[2] .. "\0", "(" .. ARGV[2] .. "\1")
local reply = { leased_ms and "live" or "grace", end_ms, rooms }
local record = redis.call("HMGET", KEYS[3], "connected", "socket", "transport", "ip", "agent", "device", "session",
  "latency", "lost")
for _, field in ipairs(record) do
  reply[#reply + 1] = field or ""
end
return reply
