#!lua
-- What a node has missed of a room while the bus did not bring it.
--
-- KEYS[1] room          hash    the room
-- KEYS[2] room.changes  stream  changes of membership, by rev
-- KEYS[3] room.users    hash    user -> joined_ms, version and status last told here
-- ARGV[1] the epoch that the node knows
-- ARGV[2] the rev up to which it has heard
-- ARGV[3] outage_ms: how long it may have heard nothing
-- ARGV[4] most changes that are worth telling one by one
-- RETURNS {"gone"}, {"reset", epoch, seq, rev, reason} or
--   {"ok", epoch, rev, JSON list of the users whose presence was told meanwhile, frame...}
--
-- One script, because changes and the rev up to which they go have to be of one moment.
-- @include rooms/_state

local room = redis.call("HMGET", KEYS[1], "epoch", "seq", "rev")
if not room[1] then
  return { "gone" }
end
local known, rev, most = tonumber(ARGV[2]), tonumber(room[3]), tonumber(ARGV[4])
if room[1] ~= ARGV[1] then
  return { "reset", room[1], tonumber(room[2]), rev, "epoch_changed" }
end
local changes = {}
if rev > known then
  if rev - known <= most then
    changes = redis.call("XRANGE", KEYS[2], string.format("%.0f", known + 1), "+")
  end
  if #changes ~= rev - known then
    return { "reset", room[1], tonumber(room[2]), rev, "changes_trimmed" }
  end
end

local since_us, told = (clock_ms() - ARGV[3]) * 1000, {}
local users = redis.call("HGETALL", KEYS[3])
for i = 1, #users, 2 do
  local version = tonumber(string.match(users[i + 1], "^%d+ (%d+) "))
  if version > since_us and #told < most then
    told[#told + 1] = users[i]
  end
end
local reply = { "ok", room[1], rev, #told == 0 and "[]" or cjson.encode(told) }
for _, change in ipairs(changes) do
  if change[2][2] ~= "" then
    reply[#reply + 1] = change[2][2]
  end
end
return reply
