-- Shared by the scripts that hold a rate; the loader puts it where a script says so.
--
-- A rate is one number: when the bucket would be full again, as Redis time in whole microseconds (GCRA's theoretical arrival
-- time). Each token moves it by interval_us, and it is never further away than the whole burst. A full bucket has no key.

-- Takes up to wanted tokens, all of them or as many as there are, and charges owed ones, which are used already, in any case.
-- Returns how many were granted, and µs until one more is there, 0 where it is there now.
local function take(key, interval_us, burst, owed, wanted, now_us)
  local whole_us = interval_us * burst
  -- No further than twice the burst: debts end, and so does what a clock that went back, or a rate that was changed, left. Of a
  -- small burst, far enough that what a dozen shards owe is not forgiven.
  local farthest_us = now_us + whole_us + interval_us * math.max(burst, 16)
  local stored_us = tonumber(redis.call("GET", key) or "0")
  local full_us = math.min(math.max(stored_us, now_us) + owed * interval_us, farthest_us)
  local granted = math.max(math.min(math.floor((now_us + whole_us - full_us) / interval_us), wanted), 0)
  full_us = full_us + granted * interval_us
  if full_us > now_us and full_us ~= stored_us then
    redis.call("SET", key, string.format("%d", full_us), "PX", string.format("%d", math.ceil((full_us - now_us) / 1000)))
  end
  return granted, math.max(full_us + interval_us - whole_us - now_us, 0)
end
