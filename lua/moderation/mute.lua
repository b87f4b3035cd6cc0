#!lua
-- Mutes a user in a room, or lifts that.
--
-- KEYS[1] room         hash    the room
-- KEYS[2] room.live    zset    <user>\0<conn>@<node>
-- KEYS[3] room.policy  hash    user -> role, mute, ban
-- KEYS[4] room.typing  hash    <user>\0<thread> -> started_ms, end_ms, room type
-- KEYS[5] channel      pubsub  who is in the room
-- KEYS[6] outbox       stream  what Postgres must hear of
-- ARGV[1] actor, "" for the administration
-- ARGV[2] the actor's member (<user>\0<conn>@<node>)
-- ARGV[3] user
-- ARGV[4] end_ms of the mute, 0 for ever, "" to lift it
-- ARGV[5] most entries of the policy
-- ARGV[6] most entries of the outbox, 0 where there is no archive
-- ARGV[7] room
-- ARGV[8] why, in the words of whoever acts, or ""
-- RETURNS {"past"|"missing"|"banned"|"stranger"|"forbidden"|"full"} or
--   {"ok", id in the outbox or "", member...}: the user's connections here; where nothing changed, the last id there
--
-- One script, because a mark that begins between the mute and the end of the user's marks would be shown until it runs out.
-- @include archive/_outbox
-- @include rooms/_state
-- @include typing/_state
-- @include moderation/_state

local outbox = outbox_of(KEYS[6], ARGV[6])
if is_closed(outbox) then
  return RESTORING
end
local now_ms = clock_ms()
local end_ms = tonumber(ARGV[4])
if end_ms and not holds(end_ms, now_ms) then
  return { "past" }
end
local refused = refusal(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], now_ms)
if refused then
  return { refused }
end
if end_ms and not has_place(KEYS[3], ARGV[3], now_ms, tonumber(ARGV[5])) then
  return { "full" }
end
local policy, id = read_policy(KEYS[3], ARGV[3]), nil
if end_ms or policy.mute then
  policy.mute = end_ms
  write_policy(KEYS[3], ARGV[3], policy, now_ms)
  id = record_act(outbox, end_ms and "mute" or "unmute", now_ms, ARGV[7], ARGV[3], ARGV[1], ARGV[8], policy)
end
if end_ms then
  take_back_typing(KEYS[4], KEYS[5], ARGV[3], now_ms)
end
return receipt(id or position(outbox), connections_of(KEYS[2], ARGV[3]))
