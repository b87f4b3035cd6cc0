#!lua
-- Members say something, one after the other. In a Cluster their rooms are of one partition.
--
-- KEYS[1] said            hash    master -> position of the last message of the last call that it wrote here; of any partition
-- KEYS[2..] outbox        stream  what Postgres must hear of; of each message, as the seven behind it
-- KEYS[3..] room          hash    the room
-- KEYS[4..] room.live     zset    <user>\0<conn>@<node>
-- KEYS[5..] room.policy   hash    user -> role, mute, ban
-- KEYS[6..] room.dedupe   string  the ack of the send with this client message id
-- KEYS[7..] channel       pubsub  who is in the room
-- KEYS[8..] room.history  stream  what was said, by seq
-- KEYS[9..] limit         string  when this user's bucket in this room is full again, µs
-- ARGV[1] replication id of the master that runs this, or ""
-- ARGV[2] most messages kept
-- ARGV[3] most bytes kept
-- ARGV[4] history_ttl_ms
-- ARGV[5] the latest position that the node has heard of, µs: these stand behind it, whatever the clock says
-- ARGV[6] interval_us between two messages of one user in one room, 0 for no rate
-- ARGV[7] burst of that rate
-- ARGV[8] a message over the rate is let through, and told of: 0|1
-- ARGV[9] what is said is kept in Postgres: 0|1
-- ARGV[10] the node has tried these before, and does not know the outcome: 0|1
-- ARGV[11] most entries of the outbox, 0 where there is no archive
-- ARGV[12..] user; of each message, as the seven behind it
-- ARGV[13..] member
-- ARGV[14..] the event's JSON object without its end: what the server adds comes behind
-- ARGV[15..] dedupe_ms, 0 where the client gave no id
-- ARGV[16..] only listens: 0|1
-- ARGV[17..] tokens wanted of the rate, 0 where the node drew one before; the first is used, the others are the node's
-- ARGV[18..] what the node calls this send
-- ARGV[19..] room
-- RETURNS of each message "missing", "closed", "broken", "damaged", "banned", "stranger", "muted", "forbidden",
--   "limited <µs until one may be said>", or "ok <duplicate: 0|1> <over: 0|1> <tokens drawn ahead> <epoch> <seq> <now_ms>"
--
-- One script, because a number that is drawn and not published is a gap, and a message that
-- is published before the check of a ban that came first is one too many. Of many messages, because a call and what is
-- looked up for it cost as much as what a message writes. Half of what that costs is Lua's own: here a table, a text that
-- is put together and a number that is written out are made once, and where they are needed.
-- @include archive/_outbox
-- @include rooms/_state
-- @include messages/_state
-- @include limits/_gcra

local call, format = redis.call, string.format
local now_us = clock_us()
local now_ms = math.floor(now_us / 1000)
local now_text, ttl_ms = format("%d", now_ms), tonumber(ARGV[4])
local interval_us, is_again = tonumber(ARGV[6]), ARGV[10] == "1"

-- By their keys; without an archive there is only one, that takes nothing.
local outboxes, has_archive = {}, ARGV[11] ~= "0"

-- Where the room's partition writes for Postgres.
local function outbox_at(key)
  local name = has_archive and key or ""
  local outbox = outboxes[name]
  if not outbox then
    outbox = outbox_of(key, ARGV[11])
    outbox.is_closed = is_closed(outbox)
    outboxes[name] = outbox
  end
  return outbox
end

-- A room as it was before this call, and room for what becomes of it: a table that grows is made anew each time.
local function read_room(at)
  local field = call("HMGET", KEYS[at + 3], "type", "visibility", "epoch", "master", "seq", "pos", "wide", "bytes")
  return {
    at = at, outbox = outbox_at(KEYS[at + 2]), type = field[1], visibility = field[2], epoch = field[3],
    master = field[4], seq = field[5], before_us = field[6], wide = field[7], bytes = field[8],
    speaker = false, reason = false, first = false, latest = false, pos = false, frame = false,
  }
end

-- The reason why a member may not speak, or nothing.
local function standing(room, at, by)
  local policy, role, ban, mute = call("HGET", KEYS[at + 5], ARGV[by + 12]), nil, nil, nil
  local is_member = call("ZSCORE", KEYS[at + 4], ARGV[by + 13])
  if policy == '{"role":"admin"}' then
    role = "admin"
  elseif policy then
    local _, entry = pcall(cjson.decode, policy)
    if type(entry) ~= "table" then
      -- Nobody knows what it forbade; whoever else is in the same call has nothing to do with it.
      return "damaged"
    end
    role, ban, mute = entry.role, entry.ban, entry.mute
  end
  if room.visibility == "secret" and not role and not is_member then
    return "missing"
  elseif ban and (ban == 0 or ban > now_ms) then
    return "banned"
  elseif not is_member then
    return "stranger"
  elseif mute and (mute == 0 or mute > now_ms) then
    return "muted"
  elseif room.type == "broadcast" and role ~= "admin" and role ~= "moderator" then
    return "forbidden"
  end
end

-- The same, looked up once of each speaker: most calls have one in a room.
local function barred(room, at, by)
  if room.outbox.is_closed then
    return "closed"
  elseif not room.type then
    return "missing"
  end
  local member, reason = ARGV[by + 13]
  if room.speaker == member then
    reason = room.reason
  else
    local others = room.others
    reason = others and others[member]
    if reason == nil then
      reason = standing(room, at, by) or false
      if not room.speaker then
        room.speaker, room.reason = member, reason
      else
        room.others = others or {}
        room.others[member] = reason
      end
    end
  end
  return reason or ARGV[by + 16] == "1" and "forbidden"
end

-- Where what the history has stands, by what its node called it. Read once, also where many messages are tried again.
local function stamps_of(room, at)
  if not room.stamps then
    room.stamps = {}
    for _, entry in ipairs(call("XREVRANGE", KEYS[at + 8], "+", "-", "COUNT", 1000)) do
      local stamp, token = string.match(entry[2][2], "^m (%S+ %d+ %d+) %S+ (%S+)\n")
      if token then
        room.stamps[token] = stamp
      end
    end
  end
  return room.stamps
end

-- The reply of an earlier send that this one repeats, if there is one.
local function repeated(room, at, by)
  if ARGV[by + 15] ~= "0" then
    local before = call("GET", KEYS[at + 6])
    if before then
      local stamp, token = string.match(before, "^(%S+ %d+ %d+) ?(%S*)$")
      return "ok " .. (token == ARGV[by + 18] and "0" or "1") .. " 0 0 " .. stamp
    end
  elseif is_again then
    local stamp = stamps_of(room, at)[ARGV[by + 18]]
    return stamp and "ok 0 0 0 " .. stamp
  end
end

-- Behind each message that may be said stands the next one of its room.
local replies, rooms, in_order, next_of, firsts, first_of = {}, {}, {}, {}, {}, {}

-- All that is to be looked at for a message: the reply, unless it may be said. A room is read once, as it was before this call.
local function look(number, at, by)
  local key = KEYS[at + 3]
  local room = rooms[key]
  if not room then
    room = read_room(at)
    rooms[key] = room
    in_order[#in_order + 1] = room
  end
  local reply = barred(room, at, by) or repeated(room, at, by)
  if reply then
    return reply
  end
  if ARGV[by + 15] ~= "0" then
    -- The same id again in one call.
    local id = KEYS[at + 6]
    first_of[number], firsts[id] = firsts[id], number
  end
  if room.first then
    next_of[room.latest] = number
  else
    room.first = number
  end
  room.latest = number
  return ""
end

-- Before anything is written. What is of the wrong type is no matter of the other rooms: each message is looked at by itself.
for at = 0, #KEYS - 9, 8 do
  local n = at / 8 + 1
  local is_sound, reply = pcall(look, n, at, at)
  replies[n] = is_sound and reply or "broken"
end

local master, last_us, last_said, has_renewed = string.sub(ARGV[1], 1, 8), tonumber(ARGV[5]), nil, false
local kept = { most_text = ARGV[2], most = tonumber(ARGV[2]), most_bytes = tonumber(ARGV[3]) }
kept.share = kept.most_bytes / kept.most

-- What expires with the last message is not renewed by each, but where a thousandth of that time has gone. Redis itself is
-- asked what is left of it: a clock may have gone back, and a key may be another than that of the message before.
local function outlast(key)
  local left_ms = call("PTTL", key)
  if left_ms <= ttl_ms and left_ms >= ttl_ms - ttl_ms / 1000 then
    return false
  end
  call("PEXPIRE", key, ARGV[4])
  return true
end

-- The first message of a call in a room.
local function begin(room)
  last_us = math.max(last_us, tonumber(room.before_us or "0"))
  if room.master ~= ARGV[1] then
    room.epoch = write_epoch(KEYS[room.at + 3], ARGV[1])
  end
end

-- Where the message stands. What fails before it is kept leaves nothing of it.
local function say(room, at, by)
  if not room.pos then
    begin(room)
  end
  local seq = format("%d", room.seq + 1)
  local at_us = math.max(now_us, last_us + 1)
  local pos = format("%d", at_us)
  local stamp, token = room.epoch .. " " .. seq .. " " .. now_text, ARGV[by + 18]
  local frame = "m " .. stamp .. " " .. master .. "." .. pos .. " " .. token .. "\n" .. ARGV[by + 14]
  keep_message(KEYS[at + 8], room, seq, frame, kept)
  last_us, room.seq, room.pos = at_us, seq, pos
  if not room.frame then
    room.frame = frame
  else
    room.frames = room.frames or { room.frame }
    room.frames[#room.frames + 1] = frame
  end
  if ARGV[by + 15] ~= "0" then
    call("SET", KEYS[at + 6], stamp .. " " .. token, "PX", ARGV[by + 15])
  end
  if ARGV[9] == "1" then
    record(room.outbox, "message", now_ms, {
      room = ARGV[by + 19], user = ARGV[by + 12], epoch = room.epoch, seq = tonumber(seq), token = token,
      json = ARGV[by + 14] .. "}",
    })
  end
  return stamp
end

-- Tokens that a message of this call has drawn and not used, by the key of the rate: of those behind it, and then the node's.
local drawn = {}

-- Behind what was said before: a repeat of that costs nothing, and is answered however much was said since.
local function say_within_rate(number, room, at, by)
  local wanted, key = tonumber(ARGV[by + 17]), KEYS[at + 9]
  local draw = drawn[key]
  if wanted == 0 or interval_us == 0 then
    return "ok 0 0 0 " .. say(room, at, by)
  elseif draw and draw.left > 0 then
    draw.left = draw.left - 1
    return "ok 0 0 0 " .. say(room, at, by)
  end
  local granted, wait_us = take(key, interval_us, tonumber(ARGV[7]), 0, wanted, now_us)
  if granted > 1 then
    draw = { number = number, left = granted - 1, stamp = say(room, at, by) }
    drawn[key] = draw
    return "ok 0 0 0 " .. draw.stamp
  elseif granted > 0 then
    return "ok 0 0 0 " .. say(room, at, by)
  elseif ARGV[8] == "1" then
    return "ok 0 1 0 " .. say(room, at, by)
  end
  return "limited " .. format("%d", wait_us)
end

-- All that is said in a room; `first` is the message at hand.
local function speak(room)
  while room.first do
    local n = room.first
    local before = first_of[n] and replies[first_of[n]]
    if before and string.sub(before, 1, 3) == "ok " then
      replies[n] = "ok 1 0 0 " .. string.match(before, "^ok %d %d %d+ (.*)$")
    else
      replies[n] = say_within_rate(n, room, n * 8 - 8, n * 8 - 8)
    end
    room.first = next_of[n]
  end
end

-- Room by room, as they are told: nodes hear positions in their order. What is of the wrong type ends one room, whose
-- messages until then are told all the same.
for _, room in ipairs(in_order) do
  if room.first and not pcall(speak, room) then
    while room.first do
      replies[room.first] = "broken"
      room.first = next_of[room.first]
    end
  end
  if room.pos then
    local at = room.at
    last_said = room.pos
    if room.is_counted then
      call("HSET", KEYS[at + 3], "seq", room.seq, "pos", room.pos, "wide", room.wide, "bytes", room.bytes)
    else
      call("HSET", KEYS[at + 3], "seq", room.seq, "pos", room.pos)
    end
    if kept.most > 0 and outlast(KEYS[at + 8]) then
      has_renewed = true
    end
    call("SPUBLISH", KEYS[at + 7], room.frames and joined(room.frames) or room.frame)
  end
end
for _, draw in pairs(drawn) do
  replies[draw.number] = "ok 0 0 " .. format("%d", draw.left) .. " " .. draw.stamp
end

-- Masters are few; should they not be, whoever comes back from one that is forgotten is told so.
if last_said then
  if call("HSET", KEYS[1], master, last_said) == 1 and call("HLEN", KEYS[1]) > 16 then
    call("DEL", KEYS[1])
  end
  -- With the histories, not before them.
  if has_renewed then
    call("PEXPIRE", KEYS[1], ARGV[4])
  else
    outlast(KEYS[1])
  end
end
return replies
