#!lua
-- Whom a room remembers a role, a ban or a mute of, as the administration sees it.
--
-- KEYS[1] room.policy  hash  user -> role, mute, ban
-- ARGV[1] most users
-- RETURNS {number of users, (user, role or "", end_ms of the ban or "", end_ms of the mute or "")...}; ends are 0 for
--   ever, and what has run out is left out
--
-- One script, because what holds is decided by Redis' clock.
-- @include archive/_outbox
-- @include rooms/_state
-- @include moderation/_state

local now_ms = clock_ms()
local function end_of(end_ms)
  return holds(end_ms, now_ms) and string.format("%.0f", end_ms) or ""
end
local reply = { redis.call("HLEN", KEYS[1]) }
local found = redis.call("HRANDFIELD", KEYS[1], ARGV[1], "WITHVALUES")
for i = 1, #found, 2 do
  local policy = cjson.decode(found[i + 1])
  reply[#reply + 1] = found[i]
  reply[#reply + 1] = policy.role or ""
  reply[#reply + 1] = end_of(policy.ban)
  reply[#reply + 1] = end_of(policy.mute)
end
return reply
