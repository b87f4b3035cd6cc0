#!lua
-- Lifts a user's ban from a room.
--
-- KEYS[1] room         hash  the room
-- KEYS[2] room.live    zset  <user>\0<conn>@<node>
-- KEYS[3] room.policy  hash  user -> role, mute, ban
-- KEYS[4] outbox       stream  what Postgres must hear of
-- ARGV[1] actor, "" for the administration
-- ARGV[2] the actor's member (<user>\0<conn>@<node>)
-- ARGV[3] user
-- ARGV[4] most entries of the outbox, 0 where there is no archive
-- ARGV[5] room
-- ARGV[6] why, in the words of whoever acts, or ""
-- RETURNS {"missing"|"banned"|"stranger"|"forbidden"} or
--   {"ok", id in the outbox or "", member...}: the user's connections here; where nothing changed, the last id there
--
-- One script, because the actor's rank has to hold in the moment of the act.
-- @include archive/_outbox
-- @include rooms/_state
-- @include moderation/_state

local outbox = outbox_of(KEYS[4], ARGV[4])
if is_closed(outbox) then
  return RESTORING
end
local now_ms = clock_ms()
local refused = refusal(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], now_ms)
if refused then
  return { refused }
end
local policy, id = read_policy(KEYS[3], ARGV[3]), nil
if policy.ban then
  policy.ban = nil
  write_policy(KEYS[3], ARGV[3], policy, now_ms)
  id = record_act(outbox, "unban", now_ms, ARGV[5], ARGV[3], ARGV[1], ARGV[6], policy)
end
return receipt(id or position(outbox), connections_of(KEYS[2], ARGV[3]))
