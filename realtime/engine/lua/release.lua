#!lua flags=allow-oom
-- Give the leader's lease back, and tell those who stand by.
-- KEYS     lease
-- ARGV     holder, channel
-- Returns  1 if the caller held it
local lease = KEYS[1]
local caller, channel = ARGV[1], ARGV[2]

local held = redis.call("GET", lease)
if not held or string.match(held, "^%d+|(.*)|%d+|%d+$") ~= caller then
  return 0
end
redis.call("DEL", lease)
redis.call("PUBLISH", channel, caller)
return 1
