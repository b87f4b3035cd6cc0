#!lua
-- When a user, and one token, were revoked.
--
-- KEYS[1] revocations  zset  user or token -> when it was revoked, ms
-- ARGV[1] user
-- ARGV[2] the token's own id, or ""
-- RETURNS {user_at_ms, token_at_ms}, 0 where it was not
--
-- One script, because it is asked on every connect, and one call is one round trip.

local user = redis.call("ZSCORE", KEYS[1], "user\0" .. ARGV[1])
local token = ARGV[2] ~= "" and redis.call("ZSCORE", KEYS[1], "token\0" .. ARGV[2])
return { user or 0, token or 0 }
