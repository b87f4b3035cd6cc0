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
--   {1, incarnation or "", entries ever added, entries left, now_ms, oldest id or "", last id, rewound: 0|1, id, k, d, ...}
--
-- Rewound: a failover has lost the last entry that Postgres has, and what is there may be newer whatever its ids, so that
-- nothing is trimmed.
-- One script, because how many entries were lost shows only in numbers of one moment, and because entries of another life
-- are not those that Postgres has, whatever their ids. A Redis that is full runs it as well: it makes place.

local function parts(id)
  local ms, seq = string.match(id, "^(%d+)-(%d+)$")
  return tonumber(ms), tonumber(seq)
end

local function is_before(one, other)
  local ms, seq = parts(one)
  local other_ms, other_seq = parts(other)
  return ms < other_ms or (ms == other_ms and seq < other_seq)
end

local function stream_of(key)
  local stream, info = {}, redis.call("XINFO", "STREAM", key)
  for i = 1, #info, 2 do
    stream[info[i]] = info[i + 1]
  end
  return stream
end

if redis.call("EXISTS", KEYS[1]) == 0 then
  return { 0 }
end
local incarnation = redis.call("GET", KEYS[2]) or ""
local stream, rewound = stream_of(KEYS[1]), 0
if incarnation == ARGV[1] then
  local oldest, done = stream["first-entry"], ARGV[2]
  local holds_older = oldest and not is_before(done, oldest[1])
  if is_before(stream["last-generated-id"], done)
    or (holds_older and #redis.call("XRANGE", KEYS[1], done, done) == 0) then
    rewound = 1
  elseif holds_older then
    local ms, seq = parts(done)
    redis.call("XTRIM", KEYS[1], "MINID", string.format("%.0f-%.0f", ms, seq + 1))
    stream = stream_of(KEYS[1])
  end
end
local time = redis.call("TIME")
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest = stream["first-entry"]
local reply = {
  1, incarnation, string.format("%.0f", stream["entries-added"]), stream["length"], string.format("%.0f", now_ms),
  oldest and oldest[1] or "", stream["last-generated-id"], rewound,
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
