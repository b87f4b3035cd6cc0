-- Shared by the scripts that know what a room has said: room.history, a stream of <seq>-0 -> frame.

-- Keeps a message, the seq of which is given as a text, and lets the oldest go beyond the bounds. As long as no message is wider
-- than its share of the bytes, the number of messages bounds them both. Behind a wider one they are counted, until it is no
-- longer among those that are kept: then the room's fields `wide`, the seq of it, and `bytes` are to be written, "" and "0"
-- where counting ends.
local function keep_message(history_key, room, seq, frame, kept)
  if kept.most == 0 then
    return
  end
  local id = seq .. "-0"
  local is_wide, counted = #frame > kept.share, room.wide and room.wide ~= ""
  if not is_wide and (not counted or tonumber(room.wide) <= tonumber(seq) - kept.most) then
    redis.call("XADD", history_key, "MAXLEN", kept.most_text, id, "m", frame)
    if counted then
      room.is_counted, room.wide, room.bytes = true, "", "0"
    end
    return
  end
  redis.call("XADD", history_key, id, "m", frame)
  local number, bytes = redis.call("XLEN", history_key), #frame
  if number > 1 and counted then
    bytes = bytes + room.bytes
  elseif number > 1 then
    bytes = 0
    for _, entry in ipairs(redis.call("XRANGE", history_key, "-", "+")) do
      bytes = bytes + #entry[2][2]
    end
  end
  for _ = 1, 16 do
    if number <= 1 or (number <= kept.most and bytes <= kept.most_bytes) then
      break
    end
    local oldest = redis.call("XRANGE", history_key, "-", "+", "COUNT", 1)[1]
    redis.call("XDEL", history_key, oldest[1])
    number, bytes = number - 1, bytes - #oldest[2][2]
  end
  room.is_counted, room.bytes = true, string.format("%d", bytes)
  if is_wide then
    room.wide = seq
  end
end

-- Frames of messages as one: their lengths stand before them.
local function joined(frames)
  if #frames == 1 then
    return frames[1]
  end
  local lengths = {}
  for i, frame in ipairs(frames) do
    lengths[i] = string.format("%d", #frame)
  end
  return "s " .. table.concat(lengths, " ") .. "\n" .. table.concat(frames)
end

-- The entries behind a number up to the room's last, oldest first, and their bytes; or nothing, and why not.
local function messages_behind(history_key, known_seq, last_seq, most, most_bytes)
  if known_seq == last_seq then
    return {}, 0
  end
  local next_id = string.format("%d", known_seq + 1) .. "-0"
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
