#!lua
-- A user no longer types.
--
-- KEYS[1] room         hash    the room
-- KEYS[2] room.live    zset    <user>\0<conn>@<node>
-- KEYS[3] room.typing  hash    <user>\0<thread> -> started_ms, end_ms, room type
-- KEYS[4] channel      pubsub  who is in the room
-- ARGV[1] user
-- ARGV[2] member
-- ARGV[3] thread or ""
-- ARGV[4] room type or "", echoed
-- RETURNS {"ok"|"missing"|"stranger"}
--
-- A repeat is silent: only a mark that was there is told.
-- @include rooms/_state
-- @include typing/_state

local visibility = redis.call("HGET", KEYS[1], "visibility")
if not visibility then
  return { "missing" }
end
if not redis.call("ZSCORE", KEYS[2], ARGV[2]) then
  return { visibility == "secret" and "missing" or "stranger" }
end
if redis.call("HDEL", KEYS[3], ARGV[1] .. "\0" .. ARGV[3]) == 1 then
  publish_typing(KEYS[3], KEYS[4], ARGV[3], ARGV[4], ARGV[1], clock_ms())
end
return { "ok" }
