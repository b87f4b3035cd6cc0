-- Shared by the scripts whose changes Postgres hears of; the loader puts it where a script says so.
-- The outbox is there as long as its partition is open: after Redis has lost everything, whoever was banned must not get
-- in before the archive has brought that back. Where there is no archive, most is 0, and every partition is open.

local RESTORING = { err = "RESTORING the archive has to bring this partition back first" }

local function outbox_of(key, most)
  return { key = key, most = tonumber(most) }
end

local function is_closed(outbox)
  return outbox.most > 0 and redis.call("EXISTS", outbox.key) == 0
end

-- Appends what has happened: its id, or "". Past its bound the outbox loses its oldest entries, a hundredth of it at once,
-- and the archive counts them.
local function record(outbox, kind, now_ms, what)
  if outbox.most == 0 then
    return ""
  end
  what.at = now_ms
  local id = redis.call("XADD", outbox.key, "NOMKSTREAM", "*", "k", kind, "d", cjson.encode(what))
  if redis.call("XLEN", outbox.key) > outbox.most then
    redis.call("XTRIM", outbox.key, "MAXLEN", "=", outbox.most - math.floor(outbox.most / 100))
  end
  return id or ""
end

-- The last entry that it ever had, or "": up to it Postgres has to have come, where an act that is repeated finds nothing to
-- change. What the first one wrote may still wait there.
local function newest_in(outbox)
  if outbox.most == 0 then
    return ""
  end
  local info = redis.call("XINFO", "STREAM", outbox.key)
  for i = 1, #info, 2 do
    if info[i] == "last-generated-id" then
      return info[i + 1]
    end
  end
  return ""
end

-- Connection and node of a member of room.live (<user>\0<conn>@<node>).
local function whereabouts(member)
  return string.match(member, "%z([^@]*)@(.*)$")
end
