#!lua
-- What somebody who comes back has missed of a room: where it begins, and how much it is.
--
-- KEYS[1] room          hash    the room
-- KEYS[2] room.history  stream  what was said, by seq
-- ARGV[1] epoch of the join, or of the place up to which the room was heard
-- ARGV[2] its seq
-- ARGV[3] most messages
-- ARGV[4] most bytes
-- ARGV[5] replication id of the master that runs this, or ""
-- ARGV[6..] the position up to which each master was heard
-- RETURNS {"lost", reason} or {"ok", epoch, seq behind which it begins, messages, bytes, master...}: the masters that were heard,
--   and wrote the room before this one did, of which nothing was heard
--
-- One script, because the end of what is known and the beginning of what is not have to be of one moment.
-- @include rooms/_state
-- @include messages/_state

local room = redis.call("HMGET", KEYS[1], "epoch", "seq", "master", "past")
local known_seq, last_seq = tonumber(ARGV[2]), tonumber(room[2] or "0")
local end_seq = end_of_epoch(KEYS[1], ARGV[1])
if not end_seq or known_seq > end_seq then
  return { "lost", "epoch_changed" }
end

local heard, former, by = {}, {}, string.sub(ARGV[5], 1, 8)
for i = 6, #ARGV do
  local master, at_us = string.match(ARGV[i], "^(%w*)%.(%d+)$")
  heard[master or ""] = tonumber(at_us)
end
if not heard[by] then
  for master in pairs(heard) do
    local is_last = string.sub(room[3] or "", 1, 8) == master
    if master ~= "" and (is_last or string.find(room[4] or "", " " .. master, 1, true)) then
      former[#former + 1] = master
    end
  end
end
-- From the end back to the last message that was heard; a room has no more of them than its history holds.
local from, first = "+", "(" .. string.format("%.0f", known_seq) .. "-0"
while next(heard) and from do
  local entries = redis.call("XREVRANGE", KEYS[2], from, first, "COUNT", 100)
  from = #entries == 100 and "(" .. entries[100][1] or nil
  for _, entry in ipairs(entries) do
    local master, at_us = string.match(entry[2][2], "^m %S+ %d+ %d+ (%w*)%.(%d+) ")
    if heard[master] and tonumber(at_us) <= heard[master] then
      known_seq, from = tonumber(string.match(entry[1], "^%d+")), nil
      break
    end
  end
end

local entries, bytes = messages_behind(KEYS[2], known_seq, last_seq, tonumber(ARGV[3]), tonumber(ARGV[4]))
if not entries then
  return { "lost", bytes }
end
return { "ok", room[1], known_seq, #entries, bytes, unpack(former) }
