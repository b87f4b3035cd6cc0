#!lua
-- What of one partition has come to its end, and which steps were left undone.
--
-- KEYS[1] leases  zset    lease -> end, ms
-- KEYS[2] grace   zset    lease -> end, ms
-- KEYS[3] due     zset    what else ends by time
-- KEYS[4] todo    stream  steps in other partitions
-- KEYS[5] swept   hash    at: the last sweep, until: the end of an amnesty, master: who ran it, past: who did before
-- ARGV[1] most entries of each kind
-- ARGV[2] silence_ms after which leases get an amnesty
-- ARGV[3] amnesty_ms
-- ARGV[4] patience_ms: a step that old was left by whoever should take it
-- ARGV[5] replication id of the master that runs this, or ""
-- RETURNS {now_ms, amnesty: 0|1, "lease"|"grace"|"due", member, end_ms, ..., "todo", id, fields JSON, ...}
--
-- One script, because whether a lease ended by itself or by Redis's silence shows only if the
-- last sweep is read and written together. Another master may not know of the last renewals.

local time = redis.call("TIME")
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local swept = redis.call("HMGET", KEYS[5], "at", "until", "master", "past")
local at_ms, until_ms = tonumber(swept[1] or "0"), tonumber(swept[2] or "0")
local master, past = swept[3] or "", swept[4] or ""
local is_new = ARGV[5] ~= "" and ARGV[5] ~= master and not string.find(past, ARGV[5], 1, true)
if is_new then
  redis.call("HSET", KEYS[5], "master", ARGV[5], "past", string.sub(master .. " " .. past, 1, 164))
end
local leases = redis.call("EXISTS", KEYS[1], KEYS[2]) > 0
local is_taken_over = is_new and master ~= ""
if leases and (now_ms - at_ms > tonumber(ARGV[2]) or at_ms > now_ms or is_taken_over) then
  until_ms = now_ms + ARGV[3]
elseif until_ms > now_ms + ARGV[3] then
  until_ms = now_ms
end
redis.call("HSET", KEYS[5], "at", string.format("%.0f", now_ms), "until", string.format("%.0f", until_ms))

local amnesty = until_ms > now_ms
local reply = { string.format("%.0f", now_ms), amnesty and 1 or 0 }
local function collect(kind, key)
  local flat = redis.call("ZRANGEBYSCORE", key, "-inf", now_ms, "WITHSCORES", "LIMIT", 0, ARGV[1])
  for i = 1, #flat, 2 do
    reply[#reply + 1] = kind
    reply[#reply + 1] = flat[i]
    reply[#reply + 1] = flat[i + 1]
  end
end
if not amnesty then
  collect("lease", KEYS[1])
  collect("grace", KEYS[2])
end
collect("due", KEYS[3])
local old = string.format("%.0f", math.max(0, now_ms - ARGV[4]))
for _, entry in ipairs(redis.call("XRANGE", KEYS[4], "-", old, "COUNT", ARGV[1])) do
  local fields = {}
  for i = 1, #entry[2], 2 do
    fields[entry[2][i]] = entry[2][i + 1]
  end
  reply[#reply + 1] = "todo"
  reply[#reply + 1] = entry[1]
  reply[#reply + 1] = cjson.encode(fields)
end
return reply
