#!lua flags=no-writes
-- What is known of one topic.
-- KEYS     topics, created, due, members
-- ARGV     topic
-- Returns  {} if it does not exist, or {age in ms, ms until it may be collected or "", node, "op:listeners", ...}
local topics, created, due, members = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local topic = ARGV[1]

--# include now
if not redis.call("ZSCORE", topics, topic) then
  return {}
end
local at = now()
local due_at = redis.call("ZSCORE", due, topic)
local age = text(at - (redis.call("HGET", created, topic) or at))
local found = {age, due_at and text(due_at - at) or ""}
for _, value in ipairs(redis.call("HGETALL", members)) do
  found[#found + 1] = value
end
return found
