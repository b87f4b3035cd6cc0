-- Tells the room who types now in one thread ("" for none); the user whose act it was does not hear it.
-- Marks are <user>\0<thread> -> <started_ms> <end_ms> <room type>.
local function publish_typing(typing_key, channel, thread, room_type, except, now_ms)
  local users, flat = {}, redis.call("HGETALL", typing_key)
  for i = 1, #flat, 2 do
    local user, mark_thread = string.match(flat[i], "^(%Z*)%z(%Z*)$")
    local started_ms, ends_ms = string.match(flat[i + 1], "^(%d+) (%d+) ")
    if mark_thread == thread and tonumber(ends_ms) > now_ms then
      users[#users + 1] = { user, tonumber(started_ms) }
    end
  end
  redis.call("SPUBLISH", channel, table.concat({
    "t", thread, room_type, except, #users == 0 and "[]" or cjson.encode(users),
  }, "\n"))
end

-- Takes back all that the user types, and tells each thread.
local function take_back_typing(typing_key, channel, user, now_ms)
  local gone, ended = {}, {}
  local marks = redis.call("HGETALL", typing_key)
  for i = 1, #marks, 2 do
    if string.sub(marks[i], 1, #user + 1) == user .. "\0" then
      gone[#gone + 1] = marks[i]
      ended[#ended + 1] = { string.sub(marks[i], #user + 2), string.match(marks[i + 1], "^%d+ %d+ (.*)$") }
    end
  end
  if #gone > 0 then
    redis.call("HDEL", typing_key, unpack(gone))
  end
  for _, mark in ipairs(ended) do
    publish_typing(typing_key, channel, mark[1], mark[2], user, now_ms)
  end
end
