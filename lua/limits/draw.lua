#!lua
-- Takes tokens of one rate, as many as there are of those that are wanted.
--
-- KEYS[1] limit  string  when the bucket is full again, µs
-- ARGV[1] interval_us between two tokens
-- ARGV[2] burst: tokens of a full bucket
-- ARGV[3] owed: tokens that were used already, and are charged whether there or not
-- ARGV[4] wanted: tokens to be used
-- RETURNS {granted, µs until one more is there or 0}
--
-- One script, because two nodes that read the bucket before either writes would both take its last token. A repeat after an
-- unknown outcome takes again, which only ever means fewer events for this user or address, by what one call takes, until
-- the bucket has filled again: nothing is let through by it.
-- @include limits/_gcra

local time = redis.call("TIME")
local now_us = time[1] * 1000000 + time[2]
local granted, wait_us = take(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), now_us)
return { granted, string.format("%.0f", wait_us) }
