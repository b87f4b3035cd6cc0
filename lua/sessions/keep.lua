#!lua
-- A connection that can be recovered has joined a room: from there on messages are its to hear.
--
-- KEYS[1] session  hash  user, conn, and the rooms that it has joined
-- ARGV[1] connection
-- ARGV[2] room
-- ARGV[3] epoch
-- ARGV[4] seq
-- RETURNS {kept: 0|1}
--
-- One script, because a session that another connection has recovered meanwhile is that one's. A second join changes
-- nothing: what came since the first is the connection's too.

if redis.call("HGET", KEYS[1], "conn") ~= ARGV[1] then
  return { 0 }
end
redis.call("HSETNX", KEYS[1], "room\0" .. ARGV[2], ARGV[3] .. " " .. ARGV[4])
return { 1 }
