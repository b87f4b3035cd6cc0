#!lua
-- Whether a connection is whole: its lease, its record, its place among the user's and the node's.
--
-- KEYS[1] leases      zset  lease -> end, ms
-- KEYS[2] grace       zset  lease -> end, ms
-- KEYS[3] conn        hash  the connection's record
-- KEYS[4] user.conns  hash  connection -> lease
-- KEYS[5] user.rooms  zset  <conn>\0<room>
-- KEYS[6] node        set   the node's leases in this partition
-- ARGV[1] lease
-- ARGV[2] connection
-- ARGV[3] adopt what is not whole, so that it can be ended like any connection: 0|1
-- RETURNS {lease: 0|1, record: 0|1, of the user: 0|1, of the node: 0|1, rooms}
--
-- One script, because the pieces of two moments would look broken while a connection comes or goes.

local leased = redis.call("ZSCORE", KEYS[1], ARGV[1]) or redis.call("ZSCORE", KEYS[2], ARGV[1])
local record = redis.call("EXISTS", KEYS[3])
local of_user = redis.call("HEXISTS", KEYS[4], ARGV[2])
local of_node = redis.call("SISMEMBER", KEYS[6], ARGV[1])
local rooms = redis.call("ZLEXCOUNT", KEYS[5], "[" .. ARGV[2] .. "\0", "(" .. ARGV[2] .. "\1")
local pieces = record + of_user + of_node
local whole = leased and pieces == 3 or not leased and pieces == 0 and rooms == 0
if not whole and ARGV[3] == "1" and of_user == 0 then
  redis.call("HSET", KEYS[4], ARGV[2], "1 " .. ARGV[1])
end
return { leased and 1 or 0, record, of_user, of_node, rooms }
