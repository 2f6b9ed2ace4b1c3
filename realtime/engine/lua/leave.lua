#!lua flags=allow-oom
-- A node leaves a topic, because its last listener has gone. An empty topic gets the time of its collection.
-- KEYS     topics, due, members, held, window
-- ARGV     node, topic, op, the caller's window, seed
-- Returns  1 if the node was in it
local topics, due, members, held, window = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local node, topic, op, own_window, seed = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

--# include due_time
local member = redis.call("HGET", members, node)
if member and tonumber(string.match(member, "^%d+")) > tonumber(op) then
  return 0  -- this command was overtaken by a later join
end
local left = redis.call("HDEL", members, node)
redis.call("SREM", held, topic)
if redis.call("HLEN", members) == 0 and redis.call("ZSCORE", topics, topic) then
  redis.call("ZADD", due, "NX", due_time(window, own_window, seed), topic)
end
return left
