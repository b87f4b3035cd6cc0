#!lua
-- Everything that decides how a user is shown.
--
-- KEYS[1] user        hash  the user's presence
-- KEYS[2] user.conns  hash  connection -> lease
-- KEYS[3] user.rooms  zset  <conn>\0<room>
-- KEYS[4] leases      zset  lease -> end, ms
-- KEYS[5] grace       zset  lease -> end, ms
-- KEYS[6] due         zset  what else ends by time
-- KEYS[7] user.log    list  the last transitions of the user
-- ARGV[1] user
-- RETURNS {now_ms, version, presence JSON, away_since_ms, away_at_ms, then in turns
--   "conn", lease, "lease"|"grace"|"none", end_ms or "room", connection, room or "log", transition JSON}; 0 for no time
--
-- One script, because a status beside the leases of another moment explains nothing.
-- @include presence/_seen
-- @include presence/_state

local now_ms = math.floor(clock_us() / 1000)
local presence = read_presence(KEYS[1], KEYS[2], now_ms)
local reply = {
  string.format("%.0f", now_ms), string.format("%.0f", presence.version), encode_presence(presence),
  redis.call("HGET", KEYS[1], "away") or "0", redis.call("ZSCORE", KEYS[6], "away\0" .. ARGV[1]) or "0",
}
local function add(...)
  for _, value in ipairs({ ... }) do
    reply[#reply + 1] = value
  end
end
local conns = redis.call("HGETALL", KEYS[2])
for i = 2, #conns, 2 do
  local lease = string.match(conns[i], "^%d (.*)$")
  local leased_ms, grace_ms = redis.call("ZSCORE", KEYS[4], lease), redis.call("ZSCORE", KEYS[5], lease)
  add("conn", lease, leased_ms and "lease" or grace_ms and "grace" or "none", leased_ms or grace_ms or "0")
end
for _, member in ipairs(redis.call("ZRANGE", KEYS[3], 0, -1)) do
  local at = string.find(member, "\0", 1, true)
  add("room", string.sub(member, 1, at - 1), string.sub(member, at + 1))
end
for _, transition in ipairs(redis.call("LRANGE", KEYS[7], 0, -1)) do
  add("log", transition)
end
return reply
