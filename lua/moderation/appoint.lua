#!lua
-- Gives a user a role in a room; member is the invitation where a room is by invitation.
--
-- KEYS[1] room         hash  the room
-- KEYS[2] room.live    zset  <user>\0<conn>@<node>
-- KEYS[3] room.policy  hash  user -> role, mute, ban
-- KEYS[4] outbox       stream  what Postgres must hear of
-- ARGV[1] actor, "" for the administration
-- ARGV[2] the actor's member (<user>\0<conn>@<node>)
-- ARGV[3] user
-- ARGV[4] role
-- ARGV[5] most entries of the policy
-- ARGV[6] most entries of the outbox, 0 where there is no archive
-- ARGV[7] room
-- ARGV[8] why, in the words of whoever acts, or ""
-- RETURNS {"missing"|"banned"|"stranger"|"forbidden"|"full"} or {"ok", id in the outbox or ""}
--
-- One script, because two who demote each other at once would both succeed.
-- @include archive/_outbox
-- @include rooms/_state
-- @include moderation/_state

local outbox = outbox_of(KEYS[4], ARGV[6])
if is_closed(outbox) then
  return RESTORING
end
local now_ms = clock_ms()
local refused, rank = refusal(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], now_ms)
if refused then
  return { refused }
end
-- Nobody gives what is as high as the own; admins alone make their like.
if RANKS[ARGV[4]] >= rank and rank ~= RANKS.admin then
  return { "forbidden" }
end
if not has_place(KEYS[3], ARGV[3], now_ms, tonumber(ARGV[5])) then
  return { "full" }
end
local policy = read_policy(KEYS[3], ARGV[3])
policy.role = ARGV[4]
write_policy(KEYS[3], ARGV[3], policy, now_ms)
local id = record_act(outbox, "role", now_ms, ARGV[7], ARGV[3], ARGV[1], ARGV[8], policy)
return { "ok", id }
