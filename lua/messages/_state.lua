-- Shared by the scripts that know what a room has said: room.history, a stream of <seq>-0 -> frame.

-- Keeps a message, and lets the oldest go beyond the bounds, a few at a time where a bound has become smaller.
local function keep_message(history_key, room_key, seq, frame, most, most_bytes, ttl_ms)
  if most == 0 then
    return
  end
  redis.call("XADD", history_key, string.format("%.0f", seq) .. "-0", "m", frame)
  local kept = redis.call("XLEN", history_key)
  local bytes = kept == 1 and #frame or tonumber(redis.call("HGET", room_key, "bytes") or "0") + #frame
  for _ = 1, 16 do
    if kept <= 1 or (kept <= most and bytes <= most_bytes) then
      break
    end
    local oldest = redis.call("XRANGE", history_key, "-", "+", "COUNT", 1)[1]
    redis.call("XDEL", history_key, oldest[1])
    kept, bytes = kept - 1, bytes - #oldest[2][2]
  end
  redis.call("HSET", room_key, "bytes", string.format("%.0f", bytes))
  redis.call("PEXPIRE", history_key, ttl_ms)
end

-- The entries behind a number up to the room's last, oldest first, and their bytes; or nothing, and why not.
local function messages_behind(history_key, known_seq, last_seq, most, most_bytes)
  if known_seq == last_seq then
    return {}, 0
  end
  local next_id = string.format("%.0f", known_seq + 1) .. "-0"
  local first = redis.call("XRANGE", history_key, next_id, "+", "COUNT", 1)[1]
  if not first or first[1] ~= next_id then
    return nil, "history_trimmed"
  end
  if last_seq - known_seq > most then
    return nil, "too_many"
  end
  local entries, bytes = redis.call("XRANGE", history_key, next_id, "+"), 0
  for _, entry in ipairs(entries) do
    bytes = bytes + #entry[2][2]
  end
  if bytes > most_bytes then
    return nil, "too_many"
  end
  return entries, bytes
end
