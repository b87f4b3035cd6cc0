#!lua
-- What was revoked lately, oldest first: what a node asks that may not have heard.
--
-- KEYS[1] revocations  zset  user or token -> when it was revoked, ms
-- ARGV[1] age_ms: how far to look back, or "" where ARGV[2] says where to go on
-- ARGV[2] from_ms
-- ARGV[3] most entries
-- RETURNS {more: 0|1, entry, at_ms, ...}, entry = user\0<id> or token\0<id>
--
-- One script, because "lately" is by Redis's clock. A page goes on at the time of the last entry, which comes again.

local from_ms = ARGV[2]
if ARGV[1] ~= "" then
  local time = redis.call("TIME")
  from_ms = string.format("%.0f", time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[1])
end
local found = redis.call("ZRANGE", KEYS[1], from_ms, "+inf", "BYSCORE", "LIMIT", 0, ARGV[3], "WITHSCORES")
local reply = { #found == 2 * tonumber(ARGV[3]) and 1 or 0 }
for at = 1, #found do
  reply[at + 1] = found[at]
end
return reply
