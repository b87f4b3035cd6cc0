#!lua
-- Brings back a room, and of its policy what is given, where Redis knows no other.
--
-- KEYS[1] room         hash    the room
-- KEYS[2] room.policy  hash    user -> role, mute, ban
-- ARGV[1] name
-- ARGV[2] id, a UUID
-- ARGV[3] type
-- ARGV[4] visibility
-- ARGV[5] most members, 0 for no bound
-- ARGV[6] epoch
-- ARGV[7] created_ms
-- ARGV[8] made by joining it: 0|1
-- ARGV[9] keep_ms of an empty room that was made by joining it
-- ARGV[10] the user who made it by joining, and owns it by that, or ""
-- ARGV[11] the seq from which its messages are numbered on, 0 where none are kept
-- ARGV[12] most entries of the policy
-- ARGV[13..] user, and the entry (JSON); in turns
-- RETURNS {made: 0|1, entries written}
--
-- One script, because somebody may join while a room is brought back, and what is known by then is newer.
-- @include rooms/_state

local made = redis.call("EXISTS", KEYS[1]) == 0
if made then
  redis.call("HSET", KEYS[1], "name", ARGV[1], "id", ARGV[2], "type", ARGV[3], "visibility", ARGV[4], "max", ARGV[5],
    "epoch", ARGV[6], "seq", ARGV[11], "rev", "0", "created", ARGV[7])
  if ARGV[8] == "1" then
    redis.call("HSET", KEYS[1], "auto", "1")
    redis.call("PEXPIRE", KEYS[1], ARGV[9])
  end
  if ARGV[10] ~= "" then
    redis.call("HSET", KEYS[1], "owner", ARGV[10])
  end
end
-- What a join has made meanwhile was taken for a new room, and is this one.
local is_taken = not made and ARGV[8] == "0" and redis.call("HDEL", KEYS[1], "auto") == 1
if is_taken then
  redis.call("HSET", KEYS[1], "type", ARGV[3], "visibility", ARGV[4], "max", ARGV[5])
  redis.call("HDEL", KEYS[1], "owner")
  redis.call("PERSIST", KEYS[1])
end
local written, most = 0, tonumber(ARGV[12])
for i = 13, #ARGV, 2 do
  if redis.call("HLEN", KEYS[2]) < most then
    written = written + redis.call("HSETNX", KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
if written > 0 or is_taken then
  redis.call("PERSIST", KEYS[2])
end
-- A policy that says only who made the room goes with it.
if ARGV[8] == "1" and made and redis.call("HLEN", KEYS[2]) == 1 and ARGV[10] ~= ""
  and is_makers(redis.call("HGET", KEYS[2], ARGV[10])) then
  redis.call("PEXPIRE", KEYS[2], ARGV[9])
end
return { made and 1 or 0, written }
