#!lua
-- Brings back what a user had chosen, where Redis knows nothing of the user.
--
-- KEYS[1] user  hash  the user's presence
-- KEYS[2] due   zset  what else ends by time
-- ARGV[1] user
-- ARGV[2] version
-- ARGV[3] chosen status or ""
-- ARGV[4] custom text or ""
-- ARGV[5] custom emoji or ""
-- ARGV[6] end_ms of the custom text and emoji, 0 for none
-- ARGV[7] seen_ms, 0 where that is not known
-- ARGV[8] keep_ms of a record that says nothing special
-- RETURNS {written: 0|1}
--
-- One script, because whoever connects meanwhile may bring something newer.

if redis.call("EXISTS", KEYS[1]) == 1 then
  return { 0 }
end
redis.call("HSET", KEYS[1], "version", ARGV[2])
for index, field in ipairs({ "chosen", "text", "emoji" }) do
  local value = ({ ARGV[3], ARGV[4], ARGV[5] })[index]
  if value ~= "" then redis.call("HSET", KEYS[1], field, value) end
end
if ARGV[7] ~= "0" then
  redis.call("HSET", KEYS[1], "seen", ARGV[7])
end
if ARGV[6] ~= "0" then
  redis.call("HSET", KEYS[1], "until", ARGV[6])
  redis.call("ZADD", KEYS[2], ARGV[6], "status\0" .. ARGV[1])
elseif ARGV[4] == "" and ARGV[5] == "" and (ARGV[3] == "" or ARGV[3] == "online") then
  redis.call("PEXPIRE", KEYS[1], ARGV[8])
end
return { 1 }
