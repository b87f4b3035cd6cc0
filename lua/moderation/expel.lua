#!lua
-- Sends a user out of a room, by whatever connections; with a ban the user stays out.
--
-- KEYS[1] room         hash    the room
-- KEYS[2] room.live    zset    <user>\0<conn>@<node>
-- KEYS[3] room.users   hash    user -> joined_ms, version, status and time last told here
-- KEYS[4] room.policy  hash    user -> role, mute, ban
-- KEYS[5] room.typing  hash    <user>\0<thread> -> started_ms, end_ms, room type
-- KEYS[6] due          zset    what else ends by time
-- KEYS[7] channel      pubsub  who is in the room
-- KEYS[8] room.changes stream  changes of membership, by rev
-- KEYS[9] outbox       stream  what Postgres must hear of
-- ARGV[1] room
-- ARGV[2] actor, "" for the administration
-- ARGV[3] the actor's member (<user>\0<conn>@<node>)
-- ARGV[4] user
-- ARGV[5] end_ms of a ban, 0 for ever, "" for none
-- ARGV[6] most entries of the policy
-- ARGV[7] presence limit
-- ARGV[8] count_every_ms
-- ARGV[9] keep_ms of an empty room that was made by joining it
-- ARGV[10] replication id of the master that runs this, or ""
-- ARGV[11] most entries of the outbox, 0 where there is no archive
-- ARGV[12] why, in the words of whoever acts, or ""
-- RETURNS {"past"|"missing"|"banned"|"stranger"|"forbidden"|"full"} or
--   {"ok", id in the outbox or "", member...}: the connections that were in
--
-- One script, because a banned user could join again between the removal and the ban, and a connection that joins
-- between a look at the members and their removal would stay.
-- @include archive/_outbox
-- @include rooms/_state
-- @include typing/_state
-- @include rooms/_departure
-- @include moderation/_state

local outbox = outbox_of(KEYS[9], ARGV[11])
if is_closed(outbox) then
  return RESTORING
end
local now_ms = clock_ms()
local end_ms = tonumber(ARGV[5])
if end_ms and not holds(end_ms, now_ms) then
  return { "past" }
end
local refused = refusal(KEYS[1], KEYS[2], KEYS[4], ARGV[2], ARGV[3], ARGV[4], now_ms)
if refused then
  return { refused }
end
if end_ms and not has_place(KEYS[4], ARGV[4], now_ms, tonumber(ARGV[6])) then
  return { "full" }
end
if end_ms then
  local policy = read_policy(KEYS[4], ARGV[4])
  -- Powers go with a ban; an invitation outlasts it, where a room is by invitation.
  if rank_of(policy) > RANKS.member then
    policy.role = redis.call("HGET", KEYS[1], "visibility") ~= "public" and "member" or nil
  end
  policy.ban = end_ms
  write_policy(KEYS[4], ARGV[4], policy, now_ms)
end
local connections, ends_ms, _ = connections_of(KEYS[2], ARGV[4]), nil, nil
if #connections > 0 then
  redis.call("ZREMRANGEBYLEX", KEYS[2], "[" .. ARGV[4] .. "\0", "(" .. ARGV[4] .. "\1")
  _, _, ends_ms = depart({
    room = KEYS[1], users = KEYS[3], policy = KEYS[4], typing = KEYS[5], due = KEYS[6], channel = KEYS[7],
    changes = KEYS[8],
  }, ARGV[1], ARGV[4], { version = "0", json = "" }, end_ms and "banned" or "kicked", now_ms,
    { limit = ARGV[7], every_ms = ARGV[8], keep_ms = ARGV[9] }, ARGV[10])
end
local policy = read_policy(KEYS[4], ARGV[4])
for index, member in ipairs(connections) do
  local conn, node = whereabouts(member)
  local is_last = index == #connections
  record(outbox, "leave", now_ms, {
    room = ARGV[1], user = ARGV[4], conn = conn, node = node, reason = end_ms and "banned" or "kicked", last = is_last,
    ends = is_last and ends_ms or nil, policy = is_last and next(policy) and policy or nil,
  })
end
local kind = end_ms and "ban" or "kick"
return receipt(record_act(outbox, kind, now_ms, ARGV[1], ARGV[4], ARGV[2], ARGV[12], policy), connections)
