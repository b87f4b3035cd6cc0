#!lua
-- Members say something, one after the other, in rooms of one partition.
--
-- KEYS[1] said            hash    master -> position of the last message that it wrote in the partition
-- KEYS[2] outbox          stream  what Postgres must hear of
-- KEYS[3..] room          hash    the room; of each message, as the six behind it
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
-- ARGV[12..] user; of each message, as the six behind it
-- ARGV[13..] member
-- ARGV[14..] the event's JSON object without its end: what the server adds comes behind
-- ARGV[15..] dedupe_ms, 0 where the client gave no id
-- ARGV[16..] only listens: 0|1
-- ARGV[17..] what the node calls this send
-- ARGV[18..] room
-- RETURNS of each message "missing", "damaged", "banned", "stranger", "muted", "forbidden",
--   "limited <µs until one may be said>", or "ok <duplicate: 0|1> <over: 0|1> <epoch> <seq> <now_ms>"
--
-- One script, because a number that is drawn and not published is a gap, and a message that
-- is published before the check of a ban that came first is one too many. Of many messages, because a call and what is
-- looked up for it cost as much as what a message writes.
-- @include archive/_outbox
-- @include rooms/_state
-- @include messages/_state
-- @include limits/_gcra

local outbox = outbox_of(KEYS[2], ARGV[11])
if is_closed(outbox) then
  return RESTORING
end
local now_us = clock_us()
local now_ms = math.floor(now_us / 1000)
local now_text, ttl_ms = string.format("%d", now_ms), tonumber(ARGV[4])
local interval_us, is_again = tonumber(ARGV[6]), ARGV[10] == "1"
local rooms, in_order, speakers, repeats = {}, {}, {}, {}

-- A room as it was before this call, read once.
local function room_of(at)
  local room = rooms[KEYS[at + 3]]
  if not room then
    local field =
      redis.call("HMGET", KEYS[at + 3], "type", "visibility", "epoch", "master", "seq", "pos", "wide", "bytes")
    room = {
      at = at, type = field[1], visibility = field[2], epoch = field[3], master = field[4], seq = field[5],
      first_us = tonumber(field[6] or "0"), wide = field[7], bytes = field[8], messages = {}, frames = {},
    }
    rooms[KEYS[at + 3]] = room
    in_order[#in_order + 1] = room
  end
  return room
end

-- What a member of a room may not: the reply, or nothing.
local function barred(at, by, room)
  if not room.type then
    return "missing"
  end
  local name = KEYS[at + 3] .. "\0" .. ARGV[by + 13]
  local speaker = speakers[name]
  if not speaker then
    local policy = redis.call("HGET", KEYS[at + 5], ARGV[by + 12])
    local entry = {}
    if policy then
      local _, decoded = pcall(cjson.decode, policy)
      entry = decoded
    end
    speaker = type(entry) == "table" and entry or { is_damaged = true }
    speaker.is_member = redis.call("ZSCORE", KEYS[at + 4], ARGV[by + 13])
    speakers[name] = speaker
  end
  if speaker.is_damaged then
    -- Nobody knows what it forbade; whoever else is in the same call has nothing to do with it.
    return "damaged"
  end
  local role, ban, mute = speaker.role, speaker.ban, speaker.mute
  if room.visibility == "secret" and not role and not speaker.is_member then
    return "missing"
  elseif ban and (ban == 0 or ban > now_ms) then
    return "banned"
  elseif not speaker.is_member then
    return "stranger"
  elseif mute and (mute == 0 or mute > now_ms) then
    return "muted"
  elseif ARGV[by + 16] == "1" or room.type == "broadcast" and role ~= "admin" and role ~= "moderator" then
    return "forbidden"
  end
end

-- Where what the history has stands, by what its node called it. Read once, also where many messages are tried again.
local function stamps_of(room, at)
  if not room.stamps then
    room.stamps = {}
    for _, entry in ipairs(redis.call("XREVRANGE", KEYS[at + 8], "+", "-", "COUNT", 1000)) do
      local stamp, token = string.match(entry[2][2], "^m (%S+ %d+ %d+) %S+ (%S+)\n")
      if token then
        room.stamps[token] = stamp
      end
    end
  end
  return room.stamps
end

-- The reply of an earlier send that this one repeats, if there is one.
local function repeated(at, by, room)
  if ARGV[by + 15] ~= "0" then
    local before = redis.call("GET", KEYS[at + 6])
    if before then
      local stamp, token = string.match(before, "^(%S+ %d+ %d+) ?(%S*)$")
      return "ok " .. (token == ARGV[by + 17] and "0" or "1") .. " 0 " .. stamp
    end
  elseif is_again then
    local stamp = stamps_of(room, at)[ARGV[by + 17]]
    return stamp and "ok 0 0 " .. stamp
  end
end

-- All that is to be looked at, before anything is written.
local replies, behind = {}, 0
for at = 0, #KEYS - 9, 7 do
  local number, room = #replies + 1, room_of(at)
  local reply = barred(at, behind, room) or repeated(at, behind, room)
  -- The same id twice in one call.
  local earlier = not reply and ARGV[behind + 15] ~= "0" and repeats[KEYS[at + 6]]
  replies[number] = reply or ""
  if not reply then
    room.messages[#room.messages + 1] = { number = number, at = at, by = behind, earlier = earlier }
    repeats[KEYS[at + 6]] = earlier or number
  end
  behind = behind + 7
end

-- Behind what was said before: a repeat of that costs nothing, and is answered however much was said since.
local function over_rate(message)
  if interval_us == 0 then
    return "0"
  end
  local granted, wait_us = take(KEYS[message.at + 9], interval_us, tonumber(ARGV[7]), 0, 1, now_us)
  if granted == 1 then
    return "0"
  elseif ARGV[8] == "1" then
    return "1"
  end
  replies[message.number] = "limited " .. string.format("%d", wait_us)
end

local master, last_us, has_said, has_renewed = string.sub(ARGV[1], 1, 8), tonumber(ARGV[5]), false, false
local kept = { most = tonumber(ARGV[2]), most_bytes = tonumber(ARGV[3]) }

-- What expires with the last message is not renewed by each, but where a thousandth of that time has gone. Redis itself is
-- asked what is left of it: positions may be ahead of the clock, and a key may be another than that of the message before.
local function outlast(key)
  local left_ms = redis.call("PTTL", key)
  if left_ms <= ttl_ms and left_ms >= ttl_ms - ttl_ms / 1000 then
    return false
  end
  redis.call("PEXPIRE", key, ttl_ms)
  return true
end

local function say(room, message, over)
  local by = message.by
  if not room.is_written then
    room.is_written, has_said = true, true
    if room.master ~= ARGV[1] then
      room.epoch = write_epoch(KEYS[room.at + 3], ARGV[1])
    end
    last_us = math.max(last_us, room.first_us)
  end
  room.seq = room.seq + 1
  last_us = math.max(now_us, last_us + 1)
  local stamp = room.epoch .. " " .. string.format("%d", room.seq) .. " " .. now_text
  if ARGV[by + 15] ~= "0" then
    redis.call("SET", KEYS[message.at + 6], stamp .. " " .. ARGV[by + 17], "PX", ARGV[by + 15])
  end
  local place = master .. "." .. string.format("%d", last_us)
  local frame = "m " .. stamp .. " " .. place .. " " .. ARGV[by + 17] .. "\n" .. ARGV[by + 14]
  keep_message(KEYS[message.at + 8], room, frame, kept)
  room.frames[#room.frames + 1] = frame
  if ARGV[9] == "1" then
    record(outbox, "message", now_ms, {
      room = ARGV[by + 18], user = ARGV[by + 12], epoch = room.epoch, seq = room.seq, token = ARGV[by + 17],
      json = ARGV[by + 14] .. "}",
    })
  end
  replies[message.number] = "ok 0 " .. over .. " " .. stamp
end

for _, room in ipairs(in_order) do
  for _, message in ipairs(room.messages) do
    local first = message.earlier and replies[message.earlier]
    if first and string.sub(first, 1, 3) == "ok " then
      replies[message.number] = "ok 1 0 " .. string.match(first, "^ok %d %d (.*)$")
    else
      local over = over_rate(message)
      if over then
        say(room, message, over)
      end
    end
  end
  if room.is_written then
    local key, seq, pos = KEYS[room.at + 3], string.format("%d", room.seq), string.format("%d", last_us)
    if room.is_counted then
      redis.call("HSET", key, "seq", seq, "pos", pos, "wide", room.wide, "bytes", room.bytes)
    else
      redis.call("HSET", key, "seq", seq, "pos", pos)
    end
    if kept.most > 0 and outlast(KEYS[room.at + 8]) then
      has_renewed = true
    end
    redis.call("SPUBLISH", KEYS[room.at + 7], joined(room.frames))
  end
end

-- Masters are few; should they not be, whoever comes back from one that is forgotten is told so.
if has_said then
  if redis.call("HSET", KEYS[1], master, string.format("%d", last_us)) == 1 and redis.call("HLEN", KEYS[1]) > 16 then
    redis.call("DEL", KEYS[1])
  end
  -- With the history, not before it.
  if has_renewed then
    redis.call("PEXPIRE", KEYS[1], ttl_ms)
  else
    outlast(KEYS[1])
  end
end
return replies
