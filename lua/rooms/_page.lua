-- Shared by the scripts that tell who is in a room; the loader puts it where a script says so.

-- At most so many users by id, behind one (all for ""), and each one's entry of room.users, in turns; and whether there
-- are more. By lexical ranges, since a page of a hash has no size that one could promise.
local function page_of(live_key, users_key, after, limit)
  local page, from = {}, after == "" and "-" or "(" .. after .. "\1"
  for found = 0, limit do
    local member = redis.call("ZRANGEBYLEX", live_key, from, "+", "LIMIT", 0, 1)[1]
    if not member then
      return page, false
    end
    if found == limit then
      return page, true
    end
    local user = string.sub(member, 1, string.find(member, "\0", 1, true) - 1)
    page[#page + 1] = user
    page[#page + 1] = redis.call("HGET", users_key, user) or ""
    from = "(" .. user .. "\1"
  end
  return page, false
end
