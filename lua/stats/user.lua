#!lua
-- How a user is shown, and by how many connections.
--
-- KEYS[1] user        hash  the user's presence
-- KEYS[2] user.conns  hash  connection -> lease
-- RETURNS {connections, status}
--
-- One script, because what makes a status is said in one place, and holds at one moment only.
-- @include presence/_seen
-- @include presence/_state

local presence = read_presence(KEYS[1], KEYS[2], math.floor(clock_us() / 1000))
return { redis.call("HLEN", KEYS[2]), presence.status }
