#!lua
-- One page of what was said in a room, oldest first.
--
-- KEYS[1] room          hash    the room
-- KEYS[2] room.live     zset    <user>\0<conn>@<node>
-- KEYS[3] room.policy   hash    user -> role, mute, ban
-- KEYS[4] room.history  stream  what was said, by seq
-- ARGV[1] user
-- ARGV[2] member
-- ARGV[3] before_seq: the page ends before it, 0 for no bound
-- ARGV[4] after_seq: the page begins behind it, "" to have the end of what is there
-- ARGV[5] most messages
-- ARGV[6] most bytes, beyond the first message
-- RETURNS {"missing"|"banned"|"stranger"} or {"ok", epoch, more: 0|1, seq of the last message, created_ms of the room, frame...}
--
-- One script, because a page that is read while its end is trimmed would have a hole.
-- @include rooms/_state

local room = redis.call("HMGET", KEYS[1], "epoch", "visibility", "seq", "created")
if not room[1] then
  return { "missing" }
end
local now_ms = clock_ms()
local policy = redis.call("HGET", KEYS[3], ARGV[1])
policy = policy and cjson.decode(policy) or {}
local is_member = redis.call("ZSCORE", KEYS[2], ARGV[2])
if room[2] == "secret" and not policy.role and not is_member then
  return { "missing" }
end
if policy.ban and (policy.ban == 0 or policy.ban > now_ms) then
  return { "banned" }
end
if not is_member then
  return { "stranger" }
end

local before, most, most_bytes = tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[6])
local forward = ARGV[4] ~= ""
local last = before > 0 and "(" .. string.format("%.0f", before) .. "-0" or "+"
local entries
if forward then
  entries = redis.call("XRANGE", KEYS[4], "(" .. string.format("%.0f", ARGV[4]) .. "-0", last, "COUNT", most + 1)
else
  entries = redis.call("XREVRANGE", KEYS[4], last, "-", "COUNT", most + 1)
end
local page, bytes, more = {}, 0, 0
for _, entry in ipairs(entries) do
  bytes = bytes + #entry[2][2]
  if #page == most or (#page > 0 and bytes > most_bytes) then
    more = 1
    break
  end
  page[#page + 1] = entry[2][2]
end
local reply = { "ok", room[1], more, tonumber(room[3]), room[4] }
for i = 1, #page do
  reply[#reply + 1] = forward and page[i] or page[#page + 1 - i]
end
return reply
