#!lua
-- Lifts a user's ban from a room.
--
-- KEYS[1] room         hash  the room
-- KEYS[2] room.live    zset  <user>\0<conn>@<node>
-- KEYS[3] room.policy  hash  user -> role, mute, ban
-- ARGV[1] actor, "" for the administration
-- ARGV[2] the actor's member (<user>\0<conn>@<node>)
-- ARGV[3] user
-- RETURNS {"missing"|"banned"|"stranger"|"forbidden"} or {"ok", member...}: the user's connections here
--
-- One script, because the actor's rank has to hold in the moment of the act.
-- @include rooms/_state
-- @include moderation/_state

local now_ms = clock_ms()
local refused = refusal(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], now_ms)
if refused then
  return { refused }
end
local policy = read_policy(KEYS[3], ARGV[3])
if policy.ban then
  policy.ban = nil
  write_policy(KEYS[3], ARGV[3], policy, now_ms)
end
return receipt(connections_of(KEYS[2], ARGV[3]))
