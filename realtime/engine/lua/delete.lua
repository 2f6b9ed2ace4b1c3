#!lua flags=allow-oom
-- Delete a topic with all its records, unless somebody listens.
-- KEYS     topics, created, due, members, further records...
-- ARGV     topic
-- Returns  1 if it is gone, 0 if there was none, -1 if somebody listens
local topics, created, due, members = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local topic = ARGV[1]

if redis.call("HLEN", members) > 0 then
  return -1
end
for i = 4, #KEYS do
  redis.call("UNLINK", KEYS[i])
end
redis.call("HDEL", created, topic)
redis.call("ZREM", due, topic)
return redis.call("ZREM", topics, topic)
