#!lua
-- A member says something in a room.
--
-- KEYS[1] room          hash    the room
-- KEYS[2] room.live     zset    <user>\0<conn>@<node>
-- KEYS[3] room.policy   hash    user -> role, mute, ban
-- KEYS[4] room.dedupe   string  the ack of the send with this client message id
-- KEYS[5] channel       pubsub  who is in the room
-- KEYS[6] room.history  stream  what was said, by seq
-- KEYS[7] limit         string  when this user's bucket in this room is full again, µs
-- KEYS[8] said          hash    master -> position of the last message that it wrote in the partition
-- KEYS[9] outbox        stream  what Postgres must hear of
-- ARGV[1] user
-- ARGV[2] member
-- ARGV[3] the event's JSON object without its end: what the server adds comes behind
-- ARGV[4] dedupe_ms, 0 where the client gave no id
-- ARGV[5] only listens: 0|1
-- ARGV[6] replication id of the master that runs this, or ""
-- ARGV[7] most messages kept
-- ARGV[8] most bytes kept
-- ARGV[9] history_ttl_ms
-- ARGV[10] the latest position that the node has heard of, µs: this one stands behind it, whatever the clock says
-- ARGV[11] what the node calls this send
-- ARGV[12] the node has tried it before, and does not know the outcome: 0|1
-- ARGV[13] interval_us between two messages of one user in one room, 0 for no rate
-- ARGV[14] burst of that rate
-- ARGV[15] a message over the rate is let through, and told of: 0|1
-- ARGV[16] most entries of the outbox, 0 where there is no archive
-- ARGV[17] what is said is kept in Postgres: 0|1
-- ARGV[18] room
-- RETURNS {"missing"|"banned"|"stranger"|"muted"|"forbidden"} or {"limited", µs until one may be said} or
--   {"ok", duplicate: 0|1, "<epoch> <seq> <now_ms>", over: 0|1}
--
-- One script, because a number that is drawn and not published is a gap, and a message that
-- is published before the check of a ban that came first is one too many.
-- @include archive/_outbox
-- @include rooms/_state
-- @include messages/_state
-- @include limits/_gcra

local outbox = outbox_of(KEYS[9], ARGV[16])
if is_closed(outbox) then
  return RESTORING
end
local room = redis.call("HMGET", KEYS[1], "type", "visibility", "epoch", "master", "seq", "pos", "wide", "bytes")
if not room[1] then
  return { "missing" }
end
local now_us = clock_us()
local now_ms = math.floor(now_us / 1000)
local policy = redis.call("HGET", KEYS[3], ARGV[1])
policy = policy and cjson.decode(policy) or {}
local is_member = redis.call("ZSCORE", KEYS[2], ARGV[2])
if room[2] == "secret" and not policy.role and not is_member then
  return { "missing" }
end
if policy.ban and (policy.ban == 0 or policy.ban > now_ms) then
  return { "banned" }
end
if not is_member then
  return { "stranger" }
end
if policy.mute and (policy.mute == 0 or policy.mute > now_ms) then
  return { "muted" }
end
local speaks = room[1] ~= "broadcast" or policy.role == "admin" or policy.role == "moderator"
if ARGV[5] == "1" or not speaks then
  return { "forbidden" }
end
local keeps = ARGV[4] ~= "0"
local before = keeps and redis.call("GET", KEYS[4])
if before then
  local stamp, token = string.match(before, "^(%S+ %d+ %d+) ?(%S*)$")
  return { "ok", token == ARGV[11] and 0 or 1, stamp, 0 }
end
if ARGV[12] == "1" and not keeps then
  for _, entry in ipairs(redis.call("XREVRANGE", KEYS[6], "+", "-", "COUNT", 100)) do
    local stamp, token = string.match(entry[2][2], "^m (%S+ %d+ %d+) %S+ (%S+)\n")
    if token == ARGV[11] then
      return { "ok", 0, stamp, 0 }
    end
  end
end

-- Behind what was said before: a repeat of that costs nothing, and is answered however much was said since.
local interval_us, over = tonumber(ARGV[13]), false
if interval_us > 0 then
  local granted, wait_us = take(KEYS[7], interval_us, tonumber(ARGV[14]), 0, 1, now_us)
  over = granted == 0
  if over and ARGV[15] == "0" then
    return { "limited", string.format("%d", wait_us) }
  end
end

local epoch, seq, last_us = room[3], room[5] + 1, tonumber(room[6] or "0")
if room[4] ~= ARGV[6] then
  epoch = write_epoch(KEYS[1], ARGV[6])
end
local position = math.max(now_us, last_us + 1, ARGV[10] + 1)
local seq_text, at_us = string.format("%d", seq), string.format("%d", position)
local stamp = epoch .. " " .. seq_text .. " " .. string.format("%d", now_ms)
if keeps then
  redis.call("SET", KEYS[4], stamp .. " " .. ARGV[11], "PX", ARGV[4])
end
-- What expires with the last message is not renewed by each: by the first one in each thousandth of that time.
local ttl_ms = tonumber(ARGV[9])
local renews = math.floor(position / ttl_ms) ~= math.floor(last_us / ttl_ms)
local by = string.sub(ARGV[6], 1, 8)
if redis.call("HSET", KEYS[8], by, at_us) == 1 or renews then
  -- Masters are few; should they not be, whoever comes back from one that is forgotten is told so.
  if redis.call("HLEN", KEYS[8]) > 16 then
    redis.call("DEL", KEYS[8])
  end
  redis.call("PEXPIRE", KEYS[8], ttl_ms)
end
local frame = "m " .. stamp .. " " .. by .. "." .. at_us .. " " .. ARGV[11] .. "\n" .. ARGV[3]
local wide, bytes = keep_message(KEYS[6], seq, frame, {
  most = tonumber(ARGV[7]), most_bytes = tonumber(ARGV[8]), wide = room[7], bytes = room[8],
})
if renews then
  redis.call("PEXPIRE", KEYS[6], ttl_ms)
end
if wide then
  redis.call("HSET", KEYS[1], "seq", seq_text, "pos", at_us, "wide", wide, "bytes", bytes)
else
  redis.call("HSET", KEYS[1], "seq", seq_text, "pos", at_us)
end
redis.call("SPUBLISH", KEYS[5], frame)
if ARGV[17] == "1" then
  record(outbox, "message", now_ms, {
    room = ARGV[18], user = ARGV[1], epoch = epoch, seq = seq, token = ARGV[11], json = ARGV[3] .. "}",
  })
end
return { "ok", 0, stamp, over and 1 or 0 }
