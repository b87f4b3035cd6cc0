#!lua
-- What others see of one user, and where they could meet.
--
-- KEYS[1] user        hash  the user's presence
-- KEYS[2] user.conns  hash  connection -> lease
-- KEYS[3] user.rooms  zset  <conn>\0<room>
-- RETURNS {version, presence JSON, rooms JSON}
--
-- One script, because a status read beside the connections that it is derived from could be
-- one that never was.
-- @include presence/_seen
-- @include presence/_state

local presence = read_presence(KEYS[1], KEYS[2], math.floor(clock_us() / 1000))
return { string.format("%.0f", presence.version), encode_presence(presence), encode_list(rooms_of(KEYS[3])) }
