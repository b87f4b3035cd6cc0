-- Shared by the scripts of this folder and of typing; the loader puts it where a script says so.

local function clock_us()
  local time = redis.call("TIME")
  return time[1] * 1000000 + time[2]
end

local function clock_ms()
  return math.floor(clock_us() / 1000)
end

-- Does the user have a live connection in the room? Members of room.live are <user>\0<conn>@<node>.
local function is_live(live_key, user)
  return #redis.call("ZRANGEBYLEX", live_key, "[" .. user .. "\0", "(" .. user .. "\1", "LIMIT", 0, 1) > 0
end

-- A change of membership: told to the room, and kept for the nodes that the bus did not bring it to. A frame of "" is
-- told to nobody, and only says that there is nothing to be told of this rev.
local function change_membership(changes_key, channel, rev, frame)
  redis.call("XADD", changes_key, "MAXLEN", "~", "500", string.format("%d", rev) .. "-0", "frame", frame)
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

-- A presence is told to the room, once per version, and when that was is kept for the nodes that the bus did not bring it to.
-- An older one than was told is dropped; of somebody who is no member there is nothing to tell. Told, and a member.
local function tell_presence(users_key, channel, user, version, json, status, limit)
  local known = redis.call("HGET", users_key, user)
  if not known then
    return false, false
  end
  local joined_ms, told = string.match(known, "^(%d+) (%d+) ")
  if tonumber(version) <= tonumber(told) then
    return false, true
  end
  local entry = joined_ms .. " " .. version .. " " .. status
  if redis.call("HLEN", users_key) > tonumber(limit) then
    redis.call("HSET", users_key, user, entry)
    return false, true
  end
  redis.call("HSET", users_key, user, entry .. " " .. string.format("%.0f", clock_ms()))
  redis.call("SPUBLISH", channel, table.concat({ "p " .. version .. " -", user, "[]", json }, "\n"))
  return true, true
end

-- The epoch in which a room is written now. A room that was last written under another master takes a new epoch, in which
-- the numbers go on from where the old one ended here; `past` remembers that, newest first, so that whoever knows nothing
-- beyond it has lost nothing. A server may take another replication id under a connection that stands; what that connection
-- says is then one from before, and changes nothing.
local function write_epoch(room_key, master)
  local field = redis.call("HMGET", room_key, "epoch", "master", "seq", "rev", "past")
  local past = field[5] or ""
  if not field[1] or master == "" or field[2] == master or string.find(past, master, 1, true) then
    return field[1]
  end
  if not field[2] or field[2] == "" then
    redis.call("HSET", room_key, "master", master)
    return field[1]
  end
  local lines = { table.concat({ field[1], field[3], field[4], field[2] }, " ") }
  for line in string.gmatch(past, "[^\n]+") do
    if #lines < 8 then
      lines[#lines + 1] = line
    end
  end
  local epoch = string.sub(redis.sha1hex(field[1] .. master), 1, 16)
  redis.call("HSET", room_key, "epoch", epoch, "master", master, "past", table.concat(lines, "\n"))
  return epoch
end

-- How far the room went in an epoch, now or in the past: seq and rev, or nothing where it never was in it.
local function end_of_epoch(room_key, epoch)
  local field = redis.call("HMGET", room_key, "epoch", "seq", "rev", "past")
  if field[1] == epoch then
    return tonumber(field[2]), tonumber(field[3])
  end
  for past, seq, rev in string.gmatch(field[4] or "", "(%S+) (%d+) (%d+) %S+") do
    if past == epoch then
      return tonumber(seq), tonumber(rev)
    end
  end
end

-- Whether a policy's entry says no more than what making the room gave.
local function is_makers(entry)
  return entry == '{"role":"admin"}' or entry == '{"role":"member"}'
end
