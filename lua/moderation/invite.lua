#!lua
-- Invites a user into a room: who has no role there gets the one of a member, who has one keeps it.
--
-- KEYS[1] room         hash    the room
-- KEYS[2] room.policy  hash    user -> role, mute, ban
-- KEYS[3] outbox       stream  what Postgres must hear of
-- ARGV[1] user
-- ARGV[2] most entries of the policy
-- ARGV[3] most entries of the outbox, 0 where there is no archive
-- ARGV[4] room
-- ARGV[5] why, in the words of whoever acts, or ""
-- RETURNS {"missing"|"full"} or {"ok", id in the outbox or "", role}
--
-- One script, because who is appointed between a look and the invitation would lose the office.
-- @include archive/_outbox
-- @include rooms/_state
-- @include moderation/_state

local outbox = outbox_of(KEYS[3], ARGV[3])
if is_closed(outbox) then
  return RESTORING
end
if redis.call("EXISTS", KEYS[1]) == 0 then
  return { "missing" }
end
local now_ms = clock_ms()
local policy = read_policy(KEYS[2], ARGV[1])
if policy.role then
  return { "ok", newest_in(outbox), policy.role }
end
if not has_place(KEYS[2], ARGV[1], now_ms, tonumber(ARGV[2])) then
  return { "full" }
end
policy.role = "member"
write_policy(KEYS[2], ARGV[1], policy, now_ms)
return { "ok", record_act(outbox, "role", now_ms, ARGV[4], ARGV[1], "", ARGV[5], policy), policy.role }
