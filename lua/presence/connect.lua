#!lua
-- Creates a connection's lease; the user's first connection turns the user visible.
--
-- KEYS[1] leases      zset    lease -> end, ms
-- KEYS[2] grace       zset    lease -> end, ms
-- KEYS[3] conn        hash    the connection's record
-- KEYS[4] user        hash    the user's presence
-- KEYS[5] user.conns  hash    connection -> lease and whether its grace was prolonged
-- KEYS[6] user.rooms  zset    <conn>\0<room>
-- KEYS[7] node        set     the node's leases in this partition
-- KEYS[8] channel     pubsub  who listens to this user
-- KEYS[9] due         zset    what else ends by time
-- KEYS[10] user.log   list    the last transitions of the user
-- KEYS[11] session    hash    user, conn, and the rooms that it has joined
-- KEYS[12] outbox     stream  what Postgres must hear of
-- ARGV[1] lease (<conn>\0<node>\0<user>)
-- ARGV[2] connection
-- ARGV[3] node
-- ARGV[4] user
-- ARGV[5] lease_ms
-- ARGV[6] prolong_ms, added once to what of the user is in grace
-- ARGV[7] transport
-- ARGV[8] ip
-- ARGV[9] user agent
-- ARGV[10] device, JSON
-- ARGV[11] session id
-- ARGV[12] most connections of one user
-- ARGV[13] the version that the node knows of the user, "0" at a first connection; where Redis has lost the user, what
--   the node knows is put back, and nobody is told, since nobody was told of a loss
-- ARGV[14] chosen status or "", as the node knows it
-- ARGV[15] custom text or "", as the node knows it
-- ARGV[16] custom emoji or "", as the node knows it
-- ARGV[17] end_ms of the custom text and emoji, as the node knows it, 0 for none
-- ARGV[18] away by inactivity, as the node knows it: 0|1
-- ARGV[19] idle_ms since the connection's last activity
-- ARGV[20] away_ms: without activity for this long a user is away
-- ARGV[21] whether it can be recovered: "" no, "take" its session, or "keep" it unless another connection has taken it
-- ARGV[22] one connection too many is let through, and told of: 0|1
-- ARGV[23] the socket's id, as the client knows it
-- ARGV[24] most entries of the outbox, 0 where there is no archive
-- RETURNS {"full"} or {"ok", appeared: 0|1, version, presence JSON, now_ms, rooms JSON, returned: 0|1, over: 0|1}; returned
--   where the user has something in grace, which others therefore do not see go
--
-- One script, because a lease without its record could not be explained, and two first
-- connections at once would both tell that the user appeared.
-- @include archive/_outbox
-- @include presence/_seen
-- @include presence/_state

local outbox = outbox_of(KEYS[12], ARGV[24])
if is_closed(outbox) then
  return RESTORING
end
local now_us = clock_us()
local now_ms = math.floor(now_us / 1000)
local conns, known = redis.call("HGETALL", KEYS[5]), false
for i = 1, #conns, 2 do
  known = known or conns[i] == ARGV[2]
end
local most, held, over = tonumber(ARGV[12]), #conns / 2, false
if not known and held >= most then
  -- What is in grace may be the one that comes back: up to as many of those do not count.
  local lost = 0
  for i = 2, #conns, 2 do
    lost = lost + (redis.call("ZSCORE", KEYS[2], string.sub(conns[i], 3)) and 1 or 0)
  end
  over = held - math.min(lost, most) >= most
  if over and ARGV[22] == "0" then
    return { "full" }
  end
end
local is_back = ARGV[13] ~= "0" and put_back(KEYS[4], KEYS[9], ARGV[4], {
  version = ARGV[13], chosen = ARGV[14], text = ARGV[15], emoji = ARGV[16], until_ms = ARGV[17], away = ARGV[18],
}, now_ms)
local user = read_user(KEYS[4])
local before = presence_of(user, held > 0, now_ms)

local leased = known and redis.call("ZSCORE", KEYS[1], ARGV[1])
local cause = known and "out of grace" or ARGV[13] ~= "0" and "registered anew" or "handshake"
local returned = known and redis.call("ZSCORE", KEYS[2], ARGV[1])
for i = 1, known and 0 or #conns, 2 do
  local prolonged, lease = string.match(conns[i + 1], "^(%d) (.*)$")
  if redis.call("ZSCORE", KEYS[2], lease) then
    returned = true
    cause = "came back while " .. conns[i] .. " is in grace"
    if prolonged == "0" then
      redis.call("ZINCRBY", KEYS[2], ARGV[6], lease)
      redis.call("HSET", KEYS[5], conns[i], "1 " .. lease)
    end
  end
end

if known then
  redis.call("ZREM", KEYS[2], ARGV[1])
  redis.call("HDEL", KEYS[3], "lost")
end
redis.call("ZADD", KEYS[1], now_ms + ARGV[5], ARGV[1])
redis.call("SADD", KEYS[7], ARGV[1])
redis.call("HSET", KEYS[5], ARGV[2], "0 " .. ARGV[1])
local connected_ms = known and redis.call("HGET", KEYS[3], "connected") or string.format("%d", now_ms)
redis.call("HSET", KEYS[3], "user", ARGV[4], "node", ARGV[3], "transport", ARGV[7], "ip", ARGV[8], "agent", ARGV[9],
  "device", ARGV[10], "session", ARGV[11], "socket", ARGV[23], "connected", connected_ms)
local holder = ARGV[21] == "keep" and redis.call("HGET", KEYS[11], "conn")
if ARGV[21] ~= "" and not (holder and redis.call("HEXISTS", KEYS[5], holder) == 1) then
  redis.call("HSET", KEYS[11], "user", ARGV[4], "conn", ARGV[2])
  redis.call("PERSIST", KEYS[11])
end
-- The record of a user who is here does not run out.
if not before.live and (user[1] or user[2] or user[3] or user[4] or user[5] or user[6] or user[7]) then
  redis.call("PERSIST", KEYS[4])
end
if not before.live and not is_back and user[7] then
  redis.call("HDEL", KEYS[4], "away")
  user[7] = false
end
if not user[7] then
  redis.call("ZADD", KEYS[9], "GT", now_ms - ARGV[19] + ARGV[20], "away\0" .. ARGV[4])
end

local after = presence_of(user, true, now_ms)
if not leased then
  note(KEYS[10], after, "0", now_ms, "connected", cause, ARGV[2])
end
-- Whoever had no connection is in no room.
local rooms = before.live and rooms_of(KEYS[6]) or {}
local appeared = before.status ~= after.status and not is_back
if appeared then
  raise_version(KEYS[4], after, now_us)
end
local json = encode_presence(after)
if appeared then
  publish_presence(KEYS[8], ARGV[4], after.version, json, rooms, ARGV[2])
end
if not leased and outbox.most > 0 then
  record(outbox, known and "regained" or "connect", now_ms, {
    user = ARGV[4], conn = ARGV[2], socket = ARGV[23], node = ARGV[3], transport = ARGV[7], ip = ARGV[8], agent = ARGV[9],
    device = ARGV[10], session = ARGV[11], anew = ARGV[13] ~= "0" or nil, presence = presence_fields(after),
    conns = known and held or held + 1,
  })
end
return {
  "ok", appeared and 1 or 0, string.format("%d", after.version), json, string.format("%d", now_ms), encode_list(rooms),
  returned and 1 or 0, over and 1 or 0,
}
