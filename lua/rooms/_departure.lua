-- Shared by the scripts that end memberships, behind rooms/_state and typing/_state; the loader puts it where a script
-- says so.

-- The user's last connection here has been removed: marks go, the change is kept and told, and an empty room that was made
-- by joining runs out, with its policy where that says only who made it. A large room hears a count; yet whoever was sent
-- out must hear it, and so everybody does. Keys: room, users, policy, typing, due, channel, changes. The new rev, the epoch,
-- and when the room runs out, where it does.
local function depart(keys, room, user, presence, reason, now_ms, terms, master)
  local epoch = write_epoch(keys.room, master)
  local field = redis.call("HMGET", keys.room, "auto", "owner")
  local count = redis.call("HLEN", keys.users)
  redis.call("HDEL", keys.users, user)
  local rev = redis.call("HINCRBY", keys.room, "rev", 1)
  take_back_typing(keys.typing, keys.channel, user, now_ms)
  local large = count > tonumber(terms.limit)
  local frame = table.concat({
    "l " .. epoch .. " " .. rev .. " " .. string.format("%.0f", now_ms) .. " " .. presence.version .. " " .. reason,
    user, presence.json,
  }, "\n")
  local is_sent_out = reason == "kicked" or reason == "banned"
  change_membership(keys.changes, keys.channel, rev, large and not is_sent_out and "" or frame)
  if large then
    publish_count(keys.room, keys.users, keys.due, keys.channel, room, now_ms, tonumber(terms.every_ms))
  end
  local ends_ms
  if field[1] and count == 1 then
    ends_ms = now_ms + terms.keep_ms
    redis.call("PEXPIRE", keys.room, terms.keep_ms)
    if redis.call("HLEN", keys.policy) == 1 and field[2]
      and is_makers(redis.call("HGET", keys.policy, field[2])) then
      redis.call("PEXPIRE", keys.policy, terms.keep_ms)
    end
  end
  return rev, epoch, ends_ms
end
