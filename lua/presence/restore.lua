#!lua
-- Puts back what a node knows of a user, where Redis has lost it.
--
-- KEYS[1] user        hash    the user's presence
-- KEYS[2] user.conns  hash    connection -> lease
-- KEYS[3] user.rooms  zset    <conn>\0<room>
-- KEYS[4] due         zset    what else ends by time
-- KEYS[5] outbox      stream  what Postgres must hear of
-- ARGV[1] user
-- ARGV[2] the version that the node knows
-- ARGV[3] chosen status or ""
-- ARGV[4] custom text or ""
-- ARGV[5] custom emoji or ""
-- ARGV[6] end_ms of the custom text and emoji, 0 for none
-- ARGV[7] away by inactivity: 0|1
-- ARGV[8] most entries of the outbox, 0 where there is no archive
-- RETURNS {0} or {1, version, presence JSON, "", rooms JSON}
--
-- One script, because what somebody chooses in this moment is newer.
-- @include archive/_outbox
-- @include presence/_seen
-- @include presence/_state

local now_ms = math.floor(clock_us() / 1000)
local known = {
  version = ARGV[2], chosen = ARGV[3], text = ARGV[4], emoji = ARGV[5], until_ms = ARGV[6], away = ARGV[7],
}
if redis.call("HLEN", KEYS[2]) == 0 or not put_back(KEYS[1], KEYS[4], ARGV[1], known, now_ms) then
  return { 0 }
end
redis.call("PERSIST", KEYS[1])
local after = read_presence(KEYS[1], KEYS[2], now_ms)
record(outbox_of(KEYS[5], ARGV[8]), "presence", now_ms, {
  user = ARGV[1], presence = presence_fields(after), conns = redis.call("HLEN", KEYS[2]),
})
return { 1, known.version, encode_presence(after), "", encode_list(rooms_of(KEYS[3])) }
