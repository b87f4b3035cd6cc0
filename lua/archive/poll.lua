#!lua flags=allow-oom
-- What a partition's outbox has for Postgres, once what Postgres has is out of it.
--
-- KEYS[1] outbox    stream  what Postgres must hear of
-- KEYS[2] restored  string  which life of the partition's data this is
-- ARGV[1] the life that the next argument is of
-- ARGV[2] id up to which Postgres has the entries of that life
-- ARGV[3] most entries of the reply
-- ARGV[4] bytes of them behind which it ends
-- RETURNS {0} where the partition is closed, or
--   {1, incarnation or "", entries ever added, entries left, now_ms, oldest id or "", id, k, d, ...}
--
-- One script, because how many entries were lost shows only in numbers of one moment, and because entries of another life
-- are not those that Postgres has, whatever their ids. A Redis that is full runs it as well: it makes place.

if redis.call("EXISTS", KEYS[1]) == 0 then
  return { 0 }
end
local incarnation = redis.call("GET", KEYS[2]) or ""
if incarnation == ARGV[1] then
  local ms, seq = string.match(ARGV[2], "^(%d+)-(%d+)$")
  redis.call("XTRIM", KEYS[1], "MINID", ms .. "-" .. string.format("%.0f", seq + 1))
end
local stream, info = {}, redis.call("XINFO", "STREAM", KEYS[1])
for i = 1, #info, 2 do
  stream[info[i]] = info[i + 1]
end
local time = redis.call("TIME")
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest = stream["first-entry"]
local reply = {
  1, incarnation, string.format("%.0f", stream["entries-added"]), stream["length"], string.format("%.0f", now_ms),
  oldest and oldest[1] or "",
}
-- In small steps, since an entry may be large, and the bound is on all of them.
local left, bytes, from = tonumber(ARGV[3]), tonumber(ARGV[4]), "-"
while left > 0 and bytes > 0 do
  local wanted = math.min(left, 100)
  local entries = redis.call("XRANGE", KEYS[1], from, "+", "COUNT", wanted)
  for _, entry in ipairs(entries) do
    local kind, what = "", ""
    for i = 1, #entry[2], 2 do
      if entry[2][i] == "k" then
        kind = entry[2][i + 1]
      elseif entry[2][i] == "d" then
        what = entry[2][i + 1]
      end
    end
    local at = #reply
    reply[at + 1], reply[at + 2], reply[at + 3] = entry[1], kind, what
    bytes = bytes - #what
    from = "(" .. entry[1]
    if bytes <= 0 then
      break
    end
  end
  left = #entries < wanted and 0 or left - wanted
end
return reply
