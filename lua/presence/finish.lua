#!lua
-- Ends a connection: at once, or because the sweep saw that its time was over.
--
-- KEYS[1] leases      zset    lease -> end, ms
-- KEYS[2] grace       zset    lease -> end, ms
-- KEYS[3] conn        hash    the connection's record
-- KEYS[4] user        hash    the user's presence
-- KEYS[5] user.conns  hash    connection -> lease
-- KEYS[6] user.rooms  zset    <conn>\0<room>
-- KEYS[7] node        set     the node's leases in this partition
-- KEYS[8] todo        stream  rooms that must still be left
-- KEYS[9] channel     pubsub  who listens to this user
-- KEYS[10] due        zset    what else ends by time
-- KEYS[11] user.log   list    the last transitions of the user
-- KEYS[12] session    hash    user, conn, and the rooms that it has joined
-- KEYS[13] outbox     stream  what Postgres must hear of
-- ARGV[1] lease
-- ARGV[2] connection
-- ARGV[3] user
-- ARGV[4] end_ms that the sweep saw, or "" to end it now
-- ARGV[5] keep_ms of a record that says nothing special, 0 to keep none whatever it says
-- ARGV[6] recovery_window_ms: how long its session can be recovered, where its end was not asked for
-- ARGV[7] who or what asked for the end, where it was asked for
-- ARGV[8] most entries of the outbox, 0 where there is no archive
-- RETURNS {0} or {1, last: 0|1, changed: 0|1, version, presence JSON, todo id or "", rooms JSON}
--
-- One script, because a connection without a lease would never be swept, a lease that two
-- sweeps end would be announced twice, and rooms without a todo entry would keep a ghost.
-- @include archive/_outbox
-- @include presence/_seen
-- @include presence/_state

local ends_ms = redis.call("ZSCORE", KEYS[1], ARGV[1]) or redis.call("ZSCORE", KEYS[2], ARGV[1])
local now_us = clock_us()
local now_ms = math.floor(now_us / 1000)
if ARGV[4] ~= "" and (not ends_ms or tonumber(ends_ms) ~= tonumber(ARGV[4]) or tonumber(ends_ms) > now_ms) then
  return { 0 }
end
if redis.call("HEXISTS", KEYS[5], ARGV[2]) == 0 then
  redis.call("ZREM", KEYS[1], ARGV[1])
  redis.call("ZREM", KEYS[2], ARGV[1])
  return { 0 }
end

local cause = ARGV[4] == "" and "asked for" or redis.call("ZSCORE", KEYS[1], ARGV[1]) and "lease ran out"
  or "grace ran out"
local before = read_presence(KEYS[4], KEYS[5], now_ms)
local first, last_member = "[" .. ARGV[2] .. "\0", "(" .. ARGV[2] .. "\1"
local own = {}
for _, member in ipairs(redis.call("ZRANGEBYLEX", KEYS[6], first, last_member)) do
  own[#own + 1] = string.sub(member, #ARGV[2] + 2)
end
redis.call("ZREMRANGEBYLEX", KEYS[6], first, last_member)
redis.call("ZREM", KEYS[1], ARGV[1])
redis.call("ZREM", KEYS[2], ARGV[1])
local what = redis.call("HMGET", KEYS[3], "socket", "node", "ip", "lost")
redis.call("DEL", KEYS[3])
redis.call("HDEL", KEYS[5], ARGV[2])
redis.call("SREM", KEYS[7], ARGV[1])
redis.call("HSET", KEYS[4], "seen", string.format("%.0f", now_ms))

local after = read_presence(KEYS[4], KEYS[5], now_ms)
local changed = before.status ~= after.status
if changed then
  raise_version(KEYS[4], after, now_us)
  publish_presence(KEYS[9], ARGV[3], after.version, encode_presence(after), own, "-")
end
if not after.live then
  redis.call("HDEL", KEYS[4], "away")
  redis.call("ZREM", KEYS[10], "away\0" .. ARGV[3])
end
if not after.live and ARGV[5] == "0" then
  redis.call("DEL", KEYS[4])
else
  expire_plain(KEYS[4], after, ARGV[5])
end

if redis.call("HGET", KEYS[12], "conn") == ARGV[2] then
  if ARGV[4] == "" or ARGV[6] == "0" then
    redis.call("DEL", KEYS[12])
  else
    redis.call("PEXPIRE", KEYS[12], ARGV[6])
  end
end
note(KEYS[11], after, ARGV[5], now_ms, "ended", cause, ARGV[2])
-- A node that dies says nothing of its transports.
local reason = ARGV[4] == "" and ARGV[7] or what[4] or cause == "lease ran out" and "lease_expired" or "node_lost"
record(outbox_of(KEYS[13], ARGV[8]), "disconnect", now_ms, {
  user = ARGV[3], conn = ARGV[2], socket = what[1] or nil, node = what[2] or nil, ip = what[3] or nil, cause = reason,
  presence = presence_fields(after), conns = redis.call("HLEN", KEYS[5]),
})

local version, presence, todo = string.format("%.0f", after.version), encode_presence(after), ""
if #own > 0 then
  todo = redis.call("XADD", KEYS[8], "*", "kind", "leave", "user", ARGV[3], "lease", ARGV[1],
    "version", changed and version or "0", "presence", changed and presence or "", "rooms", encode_list(own))
end
return { 1, after.live and 0 or 1, changed and 1 or 0, version, presence, todo, encode_list(own) }
