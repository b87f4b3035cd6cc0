#!lua
-- Opens a partition: what the archive knows of it has been brought back, or there is nothing to bring back.
--
-- KEYS[1] outbox    stream  what Postgres must hear of
-- KEYS[2] restored  string  which life of the partition's data this is
-- ARGV[1] incarnation, a UUID, for a partition that is opened
-- ARGV[2] most entries of the outbox
-- RETURNS {opened: 0|1, incarnation}
--
-- One script, because two nodes that open at once would give one life two names.
-- @include archive/_outbox

local outbox = outbox_of(KEYS[1], ARGV[2])
if not is_closed(outbox) then
  return { 0, redis.call("GET", KEYS[2]) or "" }
end
local time = redis.call("TIME")
redis.call("SET", KEYS[2], ARGV[1])
redis.call("XGROUP", "CREATE", KEYS[1], "none", "0", "MKSTREAM")
redis.call("XGROUP", "DESTROY", KEYS[1], "none")
record(outbox, "restored", time[1] * 1000 + math.floor(time[2] / 1000), { incarnation = ARGV[1] })
return { 1, ARGV[1] }
