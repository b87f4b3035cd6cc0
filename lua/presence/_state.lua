-- Shared by the scripts of this folder that change a user's presence, behind presence/_seen; the loader puts it where a
-- script says so.

-- Where Redis has lost what a node knows of the user, that is put back: its record is gone, or older. known: version,
-- chosen, text, emoji, until_ms, away: 0|1, all of them texts. Whether it was.
local function put_back(user_key, due_key, user, known, now_ms)
  if tonumber(known.version) <= tonumber(redis.call("HGET", user_key, "version") or "0") then
    return false
  end
  redis.call("HDEL", user_key, "chosen", "text", "emoji", "until", "away")
  redis.call("HSET", user_key, "version", known.version)
  for _, field in ipairs({ "chosen", "text", "emoji" }) do
    if known[field] ~= "" then redis.call("HSET", user_key, field, known[field]) end
  end
  if known.away == "1" then
    redis.call("HSET", user_key, "away", string.format("%.0f", now_ms))
  end
  if tonumber(known.until_ms) > 0 then
    redis.call("HSET", user_key, "until", known.until_ms)
    redis.call("ZADD", due_key, known.until_ms, "status\0" .. user)
  end
  return true
end

-- Versions only rise, also over a clock that went back.
local function raise_version(user_key, presence, now_us)
  presence.version = math.max(presence.version + 1, now_us)
  redis.call("HSET", user_key, "version", string.format("%d", presence.version))
end

-- A record of somebody who is away, and which says nothing that was chosen, is not kept for ever.
local function expire_plain(user_key, presence, keep_ms)
  if not presence.live and not presence.text and not presence.emoji
    and (not presence.chosen or presence.chosen == "online") then
    redis.call("PEXPIRE", user_key, keep_ms)
  end
end

-- The rooms that the user is in by any connection, each once. Members are <conn>\0<room>.
local function rooms_of(rooms_key)
  local rooms, met = {}, {}
  for _, member in ipairs(redis.call("ZRANGE", rooms_key, 0, -1)) do
    local room = string.sub(member, string.find(member, "\0", 1, true) + 1)
    if not met[room] then
      met[room] = true
      rooms[#rooms + 1] = room
    end
  end
  return rooms
end

local function encode_list(list)
  return #list == 0 and "[]" or cjson.encode(list)
end

-- Tells the user's own channel; origin is the connection that caused it, or "-".
local function publish_presence(channel, user, version, json, rooms, origin)
  redis.call("SPUBLISH", channel, table.concat({
    "p " .. string.format("%d", version) .. " " .. origin, user, encode_list(rooms), json,
  }, "\n"))
end

-- Gives a change its version, and tells it; the rooms are left to be told in todo. Version, presence, todo id or "", rooms.
local function announce(user_key, rooms_key, todo_key, channel, user, presence, now_us)
  raise_version(user_key, presence, now_us)
  local rooms = rooms_of(rooms_key)
  local version, encoded, todo = string.format("%d", presence.version), encode_presence(presence), ""
  publish_presence(channel, user, presence.version, encoded, rooms, "-")
  if #rooms > 0 then
    todo = redis.call("XADD", todo_key, "*", "kind", "tell", "user", user, "lease", "",
      "version", version, "presence", encoded, "rooms", encode_list(rooms))
  end
  return version, encoded, todo, encode_list(rooms)
end

-- Writes down why the user is shown so: the last 20 transitions, kept as long as somebody is connected, and keep_ms more.
local function note(log_key, presence, keep_ms, now_ms, what, cause, connection)
  if not presence.live and keep_ms == "0" then
    redis.call("DEL", log_key)
    return
  end
  -- Written by hand where nothing has to be escaped: cjson takes as long as three commands.
  local text = what .. cause .. connection
  local number = redis.call("LPUSH", log_key, string.find(text, "[^%w .:_-]") and cjson.encode({
    at = now_ms, what = what, cause = cause, connection = connection, status = presence.status,
  }) or '{"at":' .. string.format("%d", now_ms) .. ',"what":"' .. what .. '","cause":"' .. cause .. '","connection":"'
    .. connection .. '","status":"' .. presence.status .. '"}')
  if number > 20 then
    redis.call("LTRIM", log_key, 0, 19)
  end
  if not presence.live then
    redis.call("PEXPIRE", log_key, keep_ms)
  elseif number > 1 then
    redis.call("PERSIST", log_key)
  end
end
