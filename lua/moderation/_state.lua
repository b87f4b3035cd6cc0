-- Shared by the scripts of moderation, behind rooms/_state; the loader puts it where a script says so.
-- An entry of room.policy is JSON: role, ban and mute, each where there is one; ban and mute are ends in ms, 0 for ever.

local RANKS = { admin = 3, moderator = 2, member = 1, guest = 0 }

local function read_policy(policy_key, user)
  local entry = redis.call("HGET", policy_key, user)
  return entry and cjson.decode(entry) or {}
end

local function holds(end_ms, now_ms)
  return end_ms and (end_ms == 0 or end_ms > now_ms)
end

-- Whoever has no role counts as a member.
local function rank_of(policy)
  return RANKS[policy.role] or RANKS.member
end

-- Why the actor may not act on the user, or nil and the actor's rank. The actor "" is the administration.
local function refusal(room_key, live_key, policy_key, actor, member, user, now_ms)
  local visibility = redis.call("HGET", room_key, "visibility")
  if not visibility then
    return "missing"
  end
  if actor == "" then
    return nil, RANKS.admin + 1
  end
  local policy = read_policy(policy_key, actor)
  local is_member = redis.call("ZSCORE", live_key, member)
  if visibility == "secret" and not policy.role and not is_member then
    return "missing"
  end
  if holds(policy.ban, now_ms) then
    return "banned"
  end
  if not is_member then
    return "stranger"
  end
  local rank = rank_of(policy)
  if rank < RANKS.moderator or actor == user or rank <= rank_of(read_policy(policy_key, user)) then
    return "forbidden"
  end
  return nil, rank
end

-- Whether the room has a place for an entry of the user. Where it seems full, some that have run out make place.
local function has_place(policy_key, user, now_ms, most)
  if redis.call("HEXISTS", policy_key, user) == 1 or redis.call("HLEN", policy_key) < most then
    return true
  end
  local sample = redis.call("HRANDFIELD", policy_key, 100, "WITHVALUES")
  for i = 1, #sample, 2 do
    local policy = cjson.decode(sample[i + 1])
    if not policy.role and not holds(policy.ban, now_ms) and not holds(policy.mute, now_ms) then
      redis.call("HDEL", policy_key, sample[i])
    end
  end
  return redis.call("HLEN", policy_key) < most
end

-- Keeps what still holds of a user's entry; one that says nothing goes. What was to go with an empty room stays from now on.
local function write_policy(policy_key, user, policy, now_ms)
  policy.ban = holds(policy.ban, now_ms) and policy.ban or nil
  policy.mute = holds(policy.mute, now_ms) and policy.mute or nil
  if next(policy) then
    redis.call("HSET", policy_key, user, cjson.encode(policy))
  else
    redis.call("HDEL", policy_key, user)
  end
  redis.call("PERSIST", policy_key)
end

-- By which connections the user is in the room: members of room.live.
local function connections_of(live_key, user)
  return redis.call("ZRANGEBYLEX", live_key, "[" .. user .. "\0", "(" .. user .. "\1")
end

-- Writes an act down for the archive: its id there. by "" is the administration.
local function record_act(outbox, kind, now_ms, room, user, by, reason, policy)
  return record(outbox, kind, now_ms, {
    room = room, user = user, by = by ~= "" and by or nil, reason = reason ~= "" and reason or nil,
    policy = policy and next(policy) and policy or nil,
  })
end

-- The reply of an act that was carried out: its id in the outbox, and where it takes effect.
local function receipt(id, connections)
  local reply = { "ok", id }
  for _, member in ipairs(connections) do
    reply[#reply + 1] = member
  end
  return reply
end
