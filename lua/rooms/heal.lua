#!lua
-- What a node has missed of a room while the bus did not bring it.
--
-- KEYS[1] room          hash    the room
-- KEYS[2] room.changes  stream  changes of membership, by rev
-- KEYS[3] room.users    hash    user -> joined_ms, version, status and time last told here
-- KEYS[4] room.history  stream  what was said, by seq
-- ARGV[1] the epoch that the node knows
-- ARGV[2] the rev up to which it has heard
-- ARGV[3] outage_ms: how long it may have heard nothing
-- ARGV[4] most changes that are worth telling one by one
-- ARGV[5] the seq up to which it has heard
-- ARGV[6] most messages
-- ARGV[7] most bytes of messages
-- ARGV[8] replication id of the master that runs this, or ""
-- ARGV[9..] epochs that the node knows to lead to that of ARGV[1]
-- RETURNS {"gone"}, {"closed", frame}, {"anew", epoch, seq, rev} where nothing leads from that epoch to this,
--   {"reset", epoch, seq, rev, reason} or
--   {"ok", epoch, seq, rev, JSON list of [user, told_ms], whose presence was told meanwhile, frame...}
--
-- One script, because what is told and the numbers up to which it goes have to be of one moment.
-- @include rooms/_state
-- @include messages/_state

local room = redis.call("HMGET", KEYS[1], "epoch", "seq", "rev")
if not room[1] then
  local last = redis.call("XREVRANGE", KEYS[2], "+", "-", "COUNT", 1)[1]
  local was_closed = last and string.sub(last[2][2], 1, 2) == "x "
  return was_closed and { "closed", last[2][2] } or { "gone" }
end
local seq, rev = tonumber(room[2]), tonumber(room[3])
local known_seq, known_rev, most = tonumber(ARGV[5]), tonumber(ARGV[2]), tonumber(ARGV[4])
local end_seq, end_rev = end_of_epoch(KEYS[1], ARGV[1])
if not end_seq then
  -- An epoch that a failover has lost, of a room that it has not: what was heard in it is lost.
  for i = 9, #ARGV do
    if end_of_epoch(KEYS[1], ARGV[i]) then
      return { "reset", write_epoch(KEYS[1], ARGV[8]), seq, rev, "epoch_changed" }
    end
  end
  return { "anew", room[1], seq, rev }
end
-- Under another master what was heard may be lost, and its numbers given again: they must not be taken for the same.
room[1] = write_epoch(KEYS[1], ARGV[8])
if known_seq > end_seq or known_rev > end_rev then
  return { "reset", room[1], seq, rev, "epoch_changed" }
end
local messages, why = messages_behind(KEYS[4], known_seq, seq, tonumber(ARGV[6]), tonumber(ARGV[7]))
if not messages then
  return { "reset", room[1], seq, rev, why }
end
local changes = {}
if rev > known_rev then
  if rev - known_rev <= most then
    changes = redis.call("XRANGE", KEYS[2], string.format("%.0f", known_rev + 1), "+")
  end
  if #changes ~= rev - known_rev then
    return { "reset", room[1], seq, rev, "changes_trimmed" }
  end
end

local since_ms, told = clock_ms() - ARGV[3], {}
local users = redis.call("HGETALL", KEYS[3])
for i = 1, #users, 2 do
  -- Whoever came meanwhile came with the presence of that moment.
  local told_ms = string.match(users[i + 1], "^%d+ %d+ %S+ (%d+)$")
  if told_ms and tonumber(told_ms) >= since_ms and #told < most then
    told[#told + 1] = { users[i], tonumber(told_ms) }
  end
end
local reply = { "ok", room[1], seq, rev, #told == 0 and "[]" or cjson.encode(told) }
for _, entries in ipairs({ changes, messages }) do
  for _, entry in ipairs(entries) do
    if entry[2][2] ~= "" then
      reply[#reply + 1] = entry[2][2]
    end
  end
end
return reply
