#!lua
-- Tells one room a change of a member's presence, once per version.
--
-- KEYS[1] room.users  hash    user -> joined_ms, version, status and time last told here
-- KEYS[2] channel     pubsub  who is in the room
-- ARGV[1] user
-- ARGV[2] presence version
-- ARGV[3] presence JSON
-- ARGV[4] status
-- ARGV[5] presence limit
-- RETURNS {told: 0|1, member: 0|1}
--
-- One script, because the repeat of a step is silent and an overtaken one is dropped only if
-- the version is compared and kept in the moment of the telling.
-- @include rooms/_state

local told, is_member = tell_presence(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
return { told and 1 or 0, is_member and 1 or 0 }
