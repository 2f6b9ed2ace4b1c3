#!lua flags=no-writes
-- Who leads.
-- KEYS     lease
-- Returns  {} if nobody does, or {"term|holder|ttl|since", ms left, now in ms}
local lease = KEYS[1]

--# include now
local held = redis.call("GET", lease)
if not held or not string.match(held, "^%d+|.*|%d+|%d+$") then
  return {}
end
return {held, redis.call("PTTL", lease), text(now())}
