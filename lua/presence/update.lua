#!lua
-- The user chooses a status and what stands beside it.
--
-- KEYS[1] user        hash    the user's presence
-- KEYS[2] user.conns  hash    connection -> lease
-- KEYS[3] user.rooms  zset    <conn>\0<room>
-- KEYS[4] due         zset    what else ends by time
-- KEYS[5] todo        stream  rooms that must still be told
-- KEYS[6] channel     pubsub  who listens to this user
-- KEYS[7] user.log    list    the last transitions of the user
-- KEYS[8] outbox      stream  what Postgres must hear of
-- ARGV[1] user
-- ARGV[2] connection
-- ARGV[3] status
-- ARGV[4] custom text or ""
-- ARGV[5] custom emoji or ""
-- ARGV[6] end_ms of the custom text and emoji, 0 for none
-- ARGV[7] away_ms: without activity for this long a user is away
-- ARGV[8] most entries of the outbox, 0 where there is no archive
-- RETURNS {"gone"} or {"ok", changed: 0|1, version, presence JSON, todo id or "", rooms JSON}
--
-- One script, because a change that is stored and not published would be seen by some, and
-- a version that two changes share could not be ordered.
-- @include archive/_outbox
-- @include presence/_seen
-- @include presence/_state

if redis.call("HEXISTS", KEYS[2], ARGV[2]) == 0 then
  return { "gone" }
end
local outbox = outbox_of(KEYS[8], ARGV[8])
local now_us = clock_us()
local now_ms = math.floor(now_us / 1000)
local before = read_presence(KEYS[1], KEYS[2], now_ms)
local until_ms = tonumber(ARGV[6])
local lasting = until_ms == 0 or until_ms > now_ms
local text = lasting and ARGV[4] ~= "" and ARGV[4] or nil
local emoji = lasting and ARGV[5] ~= "" and ARGV[5] or nil

redis.call("HSET", KEYS[1], "chosen", ARGV[3])
redis.call("HDEL", KEYS[1], "text", "emoji", "until", "away")
redis.call("ZADD", KEYS[4], "GT", now_ms + ARGV[7], "away\0" .. ARGV[1])
if text then redis.call("HSET", KEYS[1], "text", text) end
if emoji then redis.call("HSET", KEYS[1], "emoji", emoji) end
if until_ms > 0 and (text or emoji) then
  redis.call("HSET", KEYS[1], "until", ARGV[6])
  redis.call("ZADD", KEYS[4], until_ms, "status\0" .. ARGV[1])
else
  redis.call("ZREM", KEYS[4], "status\0" .. ARGV[1])
end
if ARGV[3] == "offline" and before.status ~= "offline" then
  redis.call("HSET", KEYS[1], "seen", string.format("%.0f", now_ms))
end

local after = read_presence(KEYS[1], KEYS[2], now_ms)
if before.status == after.status and before.text == after.text and before.emoji == after.emoji then
  if before.chosen ~= after.chosen or before.until_ms ~= after.until_ms then
    record(outbox, "presence", now_ms, {
      user = ARGV[1], presence = presence_fields(after), conns = redis.call("HLEN", KEYS[2]),
    })
  end
  return { "ok", 0, string.format("%.0f", after.version), encode_presence(after), "", "[]" }
end
note(KEYS[7], after, "0", now_ms, "chose " .. ARGV[3], "presence:update", ARGV[2])
local version, presence, todo, rooms = announce(KEYS[1], KEYS[3], KEYS[5], KEYS[6], ARGV[1], after, now_us)
record(outbox, "status", now_ms, {
  user = ARGV[1], conn = ARGV[2], cause = "chosen", presence = presence_fields(after), conns = redis.call("HLEN", KEYS[2]),
})
return { "ok", 1, version, presence, todo, rooms }
