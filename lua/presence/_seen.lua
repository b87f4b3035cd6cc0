-- Shared by the scripts that speak of how a user is; the loader puts it where a script says so.

-- Redis time as whole microseconds.
local function clock_us()
  local time = redis.call("TIME")
  return time[1] * 1000000 + time[2]
end

local function read_user(user_key)
  return redis.call("HMGET", user_key, "chosen", "text", "emoji", "until", "version", "seen", "away")
end

-- What others see of the user: offline without a connection, else the chosen status, else away or online by activity.
-- field: of read_user.
local function presence_of(field, live, now_ms)
  local presence = { version = tonumber(field[5] or "0"), live = live, chosen = field[1] or nil }
  local until_ms = tonumber(field[4] or "0")
  if until_ms == 0 or until_ms > now_ms then
    presence.text, presence.emoji = field[2] or nil, field[3] or nil
    presence.until_ms = until_ms > 0 and until_ms or nil
  end
  presence.status = presence.live and (presence.chosen or (field[7] and "away") or "online") or "offline"
  presence.seen = presence.status == "offline" and tonumber(field[6] or "0") or nil
  return presence
end

local function read_presence(user_key, conns_key, now_ms)
  return presence_of(read_user(user_key), redis.call("HLEN", conns_key) > 0, now_ms)
end

local function presence_fields(presence)
  return {
    status = presence.status, chosen = presence.chosen, text = presence.text, emoji = presence.emoji,
    ["until"] = presence.until_ms, seen = presence.seen, version = string.format("%.0f", presence.version),
  }
end

-- The JSON that travels in replies and on the bus, beside the version.
local function encode_presence(presence)
  if not (presence.chosen or presence.text or presence.emoji or presence.until_ms or presence.seen) then
    return '{"status":"' .. presence.status .. '"}'
  end
  local fields = presence_fields(presence)
  fields.version = nil
  return cjson.encode(fields)
end
