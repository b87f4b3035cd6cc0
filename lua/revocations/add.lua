#!lua
-- Revokes the tokens of a user, or one token, and tells every node.
--
-- KEYS[1] revocations  zset    user or token -> when it was revoked, ms
-- KEYS[2] channel      pubsub  what every node hears
-- ARGV[1] "user" or "token"
-- ARGV[2] its id
-- ARGV[3] keep_ms
-- ARGV[4] most revocations that are kept
-- ARGV[5] most forgotten ones that one call removes
-- RETURNS {1, at_ms} or {0} where there is no place
--
-- One script, because a node must neither hear of a revocation that is not written down, nor miss one that is. Without a
-- place nothing is forgotten early: whoever revokes hears of it. A repeat revokes anew, what was issued in between too.

local time = redis.call("TIME")
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local entry = ARGV[1] .. "\0" .. ARGV[2]
local before = redis.call("ZSCORE", KEYS[1], entry)
local forgotten = redis.call("ZCOUNT", KEYS[1], "-inf", "(" .. string.format("%.0f", now_ms - ARGV[3]))
if not before and redis.call("ZCARD", KEYS[1]) - forgotten >= tonumber(ARGV[4]) then
  return { 0 }
end

-- A clock that a failover set back takes nothing back.
local at_ms = string.format("%.0f", math.max(now_ms, tonumber(before or 0)))
redis.call("ZADD", KEYS[1], at_ms, entry)
if forgotten > 0 then
  redis.call("ZREMRANGEBYRANK", KEYS[1], 0, math.min(forgotten, tonumber(ARGV[5])) - 1)
end
redis.call("PEXPIRE", KEYS[1], ARGV[3])
redis.call("SPUBLISH", KEYS[2], "r " .. at_ms .. " " .. ARGV[1] .. "\n" .. ARGV[2])
return { 1, at_ms }
