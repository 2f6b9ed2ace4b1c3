#!lua flags=no-writes
-- Who leads.
-- KEYS     lease
-- Returns  {} if nobody does, or {"term|holder|ttl|since", ms left, now in ms}
local lease = KEYS[1]

local held = redis.call("GET", lease)
if not held or not string.match(held, "^%d+|.*|%d+|%d+$") then
  return {}
end
local now = redis.call("TIME")
return {held, redis.call("PTTL", lease), string.format("%.0f", now[1] * 1000 + math.floor(now[2] / 1000))}
