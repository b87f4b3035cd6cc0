#!lua
-- Second half of a join, in the room's partition: the rules, the membership, and who is told.
--
-- KEYS[1] room         hash    the room
-- KEYS[2] room.live    zset    <user>\0<conn>@<node>
-- KEYS[3] room.users   hash    user -> joined_ms, version, status and time last told here
-- KEYS[4] room.policy  hash    user -> role, mute, ban
-- KEYS[5] tombstone    string  this connection has ended
-- KEYS[6] due          zset    what else ends by time
-- KEYS[7] channel      pubsub  who is in the room
-- KEYS[8] room.changes stream  changes of membership, by rev
-- KEYS[9] room.history stream  what was said, by seq
-- KEYS[10] outbox      stream  what Postgres must hear of
-- ARGV[1] room
-- ARGV[2] user
-- ARGV[3] connection
-- ARGV[4] member (<user>\0<conn>@<node>)
-- ARGV[5] anonymous: 0|1
-- ARGV[6] presence version
-- ARGV[7] presence JSON
-- ARGV[8] status
-- ARGV[9] presence limit: users above which only counts are told
-- ARGV[10] count_every_ms
-- ARGV[11] make it when missing: 0|1, or 2 where whoever makes it is its admin, 3 its member
-- ARGV[12] id, a UUID, for a room that is made
-- ARGV[13] epoch for a room that is made
-- ARGV[14] the epoch in which the connection was a member, or "": whoever was in the room is put back, and untold unless
--   the room saw a leave
-- ARGV[15] type of the room, as the node knows it or as it is made, or ""
-- ARGV[16] visibility, likewise
-- ARGV[17] most members, likewise, 0 for no bound
-- ARGV[18] replication id of the master that runs this, or ""
-- ARGV[19] the epoch that the client has heard before, or "" where it asks for nothing
-- ARGV[20] the seq up to which it has heard
-- ARGV[21] most messages that it is given
-- ARGV[22] most bytes of them
-- ARGV[23] most entries of the outbox, 0 where there is no archive
-- ARGV[24] the room's name is an invitation of the user: 0|1
-- ARGV[25] members to return, 0 for none
-- RETURNS {"gone"|"missing"|"banned"|"forbidden"|"full"|"kicked"} or
--   {"ok", "<first: 0|1> <made: 0|1> <type> <role> <member count> <epoch> <seq> <rev> <now_ms> <visibility> <most members>",
--   members as lines in turns: a user, and the user's entry of room.users, in any order where they are all; "" in a room
--   over the presence limit, "" or why what was missed cannot be told, frame...}
--
-- One script, because a ban that lands between the check and the membership would not hold,
-- the count that is answered has to be the one that the room was told, and what was missed ends where the membership begins.
-- @include archive/_outbox
-- @include rooms/_state
-- @include rooms/_page
-- @include messages/_state

-- Why the user has left, where that is the last that the room remembers of the user.
local function last_leave(changes_key, user)
  for _, change in ipairs(redis.call("XREVRANGE", changes_key, "+", "-", "COUNT", 500)) do
    local kind, why, who = string.match(change[2][2], "^(%a) [^\n]-(%S+)\n(%Z-)\n")
    if who == user then
      return kind == "l" and why or nil
    end
  end
end

local outbox = outbox_of(KEYS[10], ARGV[23])
if is_closed(outbox) then
  return RESTORING
end
if redis.call("EXISTS", KEYS[5]) == 1 then
  return { "gone" }
end
local room = redis.call("HMGET", KEYS[1], "type", "visibility", "max", "epoch", "seq", "rev", "auto", "master")
local missing = not room[1]
if missing and ARGV[11] == "0" and ARGV[14] == "" then
  return { "missing" }
end
local first = not is_live(KEYS[2], ARGV[2])
local knows = ARGV[14] ~= ""
local why_left = knows and first and end_of_epoch(KEYS[1], ARGV[14]) and last_leave(KEYS[8], ARGV[2])
if why_left == "kicked" or why_left == "banned" then
  return { "kicked" }
end
local lost = knows and not why_left

local now_ms = clock_ms()
local policy = redis.call("HGET", KEYS[4], ARGV[2])
policy = policy and cjson.decode(policy) or {}
local visibility = room[2] or ARGV[16]
-- What an earlier room of the name left of a policy says whose it is.
local founds = missing and not lost and tonumber(ARGV[11]) > 1 and redis.call("EXISTS", KEYS[4]) == 0
local is_named = ARGV[24] == "1"
if visibility == "secret" and not policy.role and not is_named and not founds and not lost then
  return { "missing" }
end
if policy.ban and (policy.ban == 0 or policy.ban > now_ms) then
  return { "banned" }
end
local is_invited = is_named or founds or policy.role and ARGV[5] ~= "1"
if visibility ~= "public" and not is_invited and not lost then
  return { "forbidden" }
end
local most = tonumber(room[3] or "0")
if first and most > 0 and not lost and redis.call("HLEN", KEYS[3]) >= most then
  return { "full" }
end

if missing then
  redis.call("DEL", KEYS[8], KEYS[9])
  local kind, limit = ARGV[15], ARGV[17]
  redis.call("HSET", KEYS[1], "name", ARGV[1], "id", ARGV[12], "type", kind, "visibility", visibility, "max", limit,
    "epoch", ARGV[13], "seq", "0", "rev", "0", "created", string.format("%.0f", now_ms), "master", ARGV[18])
  if ARGV[11] ~= "0" then
    redis.call("HSET", KEYS[1], "auto", "1")
  end
  if founds then
    policy.role = ARGV[11] == "2" and "admin" or "member"
    redis.call("HSET", KEYS[1], "owner", ARGV[2])
    redis.call("HSET", KEYS[4], ARGV[2], '{"role":"' .. policy.role .. '"}')
  end
  record(outbox, "room_created", now_ms, {
    room = ARGV[1], id = ARGV[12], type = kind, visibility = visibility, max = tonumber(limit),
    auto = ARGV[11] ~= "0" or nil, by = ARGV[2], owner = founds or nil, policy = founds and policy or nil,
    anew = lost or nil,
  })
  room = { kind, visibility, limit, ARGV[13], "0", "0", false, ARGV[18] }
end
local epoch = room[4]
if room[8] ~= ARGV[18] then
  epoch = write_epoch(KEYS[1], ARGV[18])
end
if redis.call("ZADD", KEYS[2], 0, ARGV[4]) == 1 and outbox.most > 0 then
  local conn, node = whereabouts(ARGV[4])
  record(outbox, "join", now_ms, {
    room = ARGV[1], user = ARGV[2], conn = conn, node = node, first = first, anew = lost or nil,
    policy = next(policy) and policy or nil,
  })
end
local seq, rev, now_text = tonumber(room[5]), tonumber(room[6]), string.format("%d", now_ms)
local count
if first then
  redis.call("HSET", KEYS[3], ARGV[2], now_text .. " " .. ARGV[6] .. " " .. ARGV[8])
  rev, count = redis.call("HINCRBY", KEYS[1], "rev", 1), redis.call("HLEN", KEYS[3])
  -- A room that was empty may be running out.
  if count == 1 and room[7] then
    redis.call("PERSIST", KEYS[1])
    redis.call("PERSIST", KEYS[4])
  end
  local large = count > tonumber(ARGV[9])
  local frame = table.concat({
    "j " .. epoch .. " " .. rev .. " " .. now_text .. " " .. ARGV[6] .. " " .. ARGV[3], ARGV[2], ARGV[7],
  }, "\n")
  change_membership(KEYS[8], KEYS[7], rev, (large or lost) and "" or frame)
  if large then
    publish_count(KEYS[1], KEYS[3], KEYS[6], KEYS[7], ARGV[1], now_ms, tonumber(ARGV[10]))
  end
else
  -- An earlier connection of the user is still here, perhaps only until its end comes this far: what that says of the
  -- user is older than this one, and must not be told behind it.
  tell_presence(KEYS[3], KEYS[7], ARGV[2], ARGV[6], ARGV[7], ARGV[8], ARGV[9])
  count = redis.call("HLEN", KEYS[3])
end
local members, wanted = "", tonumber(ARGV[25])
if wanted > 0 and count <= tonumber(ARGV[9]) then
  local page = count <= wanted and redis.call("HGETALL", KEYS[3]) or page_of(KEYS[2], KEYS[3], "", wanted)
  members = table.concat(page, "\n")
end
local missed, why = {}, ""
if ARGV[19] ~= "" then
  local end_seq, known_seq = end_of_epoch(KEYS[1], ARGV[19]), tonumber(ARGV[20])
  if not end_seq or known_seq > end_seq then
    why = "epoch_changed"
  else
    missed, why = messages_behind(KEYS[9], known_seq, seq, tonumber(ARGV[21]), tonumber(ARGV[22]))
    missed, why = missed or {}, missed and "" or why
  end
end
local reply = {
  "ok", table.concat({
    first and 1 or 0, missing and 1 or 0, room[1], policy.role or "member", count, epoch, string.format("%d", seq), rev,
    now_text, visibility, room[3] or "0",
  }, " "), members, why,
}
for _, entry in ipairs(missed) do
  reply[#reply + 1] = entry[2][2]
end
return reply
