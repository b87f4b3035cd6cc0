-- Shared by the scripts of this folder and of typing; the loader puts it where a script says so.

local function clock_ms()
  local time = redis.call("TIME")
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Does the user have a live connection in the room? Members of room.live are <user>\0<conn>@<node>.
local function is_live(live_key, user)
  return #redis.call("ZRANGEBYLEX", live_key, "[" .. user .. "\0", "(" .. user .. "\1", "LIMIT", 0, 1) > 0
end

-- A change of membership: told to the room, and kept for the nodes that the bus did not bring it to. A frame of "" is
-- told to nobody, and only says that there is nothing to be told of this rev.
local function change_membership(changes_key, channel, rev, frame)
  redis.call("XADD", changes_key, "MAXLEN", "~", "500", string.format("%.0f", rev) .. "-0", "frame", frame)
  redis.call("PEXPIRE", changes_key, 86400000)
  if frame ~= "" then
    redis.call("SPUBLISH", channel, frame)
  end
end

-- Over the presence limit a room hears how many there are, at most once a second: now (true), or by the sweep.
local function publish_count(room_key, users_key, due_key, channel, room, now_ms, every_ms)
  local counted_ms = tonumber(redis.call("HGET", room_key, "counted") or "0")
  if now_ms - counted_ms < every_ms then
    redis.call("ZADD", due_key, "NX", counted_ms + every_ms, "count\0" .. room)
    return false
  end
  redis.call("HSET", room_key, "counted", string.format("%.0f", now_ms))
  redis.call("ZREM", due_key, "count\0" .. room)
  redis.call("SPUBLISH", channel, "c " .. redis.call("HLEN", users_key) .. "\n")
  return true
end
