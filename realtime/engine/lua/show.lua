#!lua flags=no-writes
-- What is known of one topic.
-- KEYS     topics, created, due, members
-- ARGV     topic
-- Returns  {} if it does not exist, or {age in ms, ms until it may be collected or "", node, "op:listeners", ...}
local topics, created, due, members = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local topic = ARGV[1]

if not redis.call("ZSCORE", topics, topic) then
  return {}
end
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due_at = redis.call("ZSCORE", due, topic)
local age = string.format("%.0f", now - (redis.call("HGET", created, topic) or now))
local found = {age, due_at and string.format("%.0f", due_at - now) or ""}
for _, value in ipairs(redis.call("HGETALL", members)) do
  found[#found + 1] = value
end
return found
