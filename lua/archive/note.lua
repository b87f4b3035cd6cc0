#!lua
-- Writes down what no script sees: a handshake that was refused, a limit that was hit, an error.
--
-- KEYS[1] outbox  stream  what Postgres must hear of
-- ARGV[1] kind
-- ARGV[2] what, JSON
-- ARGV[3] most entries of the outbox, 0 where there is no archive
-- RETURNS {id in the outbox or ""}
--
-- One script, because a bound that is looked at later is none.
-- @include archive/_outbox

local time = redis.call("TIME")
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
return { record(outbox_of(KEYS[1], ARGV[3]), ARGV[1], now_ms, cjson.decode(ARGV[2])) }
