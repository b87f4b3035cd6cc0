#!lua
-- Whether a room agrees with itself: its users are those of its connections, and only they type.
--
-- KEYS[1] room.live    zset    <user>\0<conn>@<node>
-- KEYS[2] room.users   hash    user -> joined_ms, version, status and time last told here
-- KEYS[3] room.typing  hash    <user>\0<thread> -> started_ms, end_ms, room type
-- KEYS[4] due          zset    what else ends by time
-- KEYS[5] channel      pubsub  who is in the room
-- ARGV[1] room
-- ARGV[2] most findings
-- ARGV[3] repair what can be repaired here: 0|1
-- RETURNS {kind, user, ...} in turns: "unlisted" has connections and is no user, "unheld" is a user without connections,
--   "typing" types without being here, "endless" types without an end
--
-- One script, because a join between two reads would look like a drift.
-- @include rooms/_state
-- @include typing/_state

local now_ms, most, found = clock_ms(), tonumber(ARGV[2]), {}
local repair = ARGV[3] == "1"
local function find(kind, user)
  if #found < 2 * most then
    found[#found + 1] = kind
    found[#found + 1] = user
    return true
  end
  return false
end

local live = {}
for _, member in ipairs(redis.call("ZRANGE", KEYS[1], 0, -1)) do
  live[string.match(member, "^(%Z*)%z")] = true
end
for user in pairs(live) do
  if redis.call("HEXISTS", KEYS[2], user) == 0 and find("unlisted", user) and repair then
    redis.call("HSET", KEYS[2], user, string.format("%.0f", now_ms) .. " 0 online")
  end
end
for _, user in ipairs(redis.call("HKEYS", KEYS[2])) do
  if not live[user] then
    find("unheld", user)
  end
end
local marks = redis.call("HGETALL", KEYS[3])
local scheduled = #marks == 0 or redis.call("ZSCORE", KEYS[4], "typing\0" .. ARGV[1])
for i = 1, #marks, 2 do
  local user, thread = string.match(marks[i], "^(%Z*)%z(%Z*)$")
  if not live[user] and find("typing", user) and repair then
    redis.call("HDEL", KEYS[3], marks[i])
    publish_typing(KEYS[3], KEYS[5], thread, string.match(marks[i + 1], "^%d+ %d+ (.*)$"), user, now_ms)
  end
  if not scheduled and find("endless", user) and repair then
    redis.call("ZADD", KEYS[4], now_ms, "typing\0" .. ARGV[1])
  end
end
return found
