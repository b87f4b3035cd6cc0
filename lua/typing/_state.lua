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
