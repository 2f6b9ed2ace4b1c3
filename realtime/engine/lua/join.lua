#!lua
-- A node enters a topic, because its first listener has come. Creates the topic.
-- KEYS     nodes, topics, created, due, members, held
-- ARGV     node, topic, op, listeners
-- Returns  1; or 0 if the node is not alive, and then nothing has changed
local nodes, topics, created, due, members, held = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local node, topic, op, listeners = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

--# include now
local seen = redis.call("ZSCORE", nodes, node)
if not seen or tonumber(seen) < 0 then
  return 0  -- or a dead node would add a member that nobody will ever remove
end
local member = redis.call("HGET", members, node)
if member and tonumber(string.match(member, "^%d+")) > tonumber(op) then
  return 1  -- this command was overtaken by a later one
end
if redis.call("ZADD", topics, "NX", 0, topic) == 1 then
  redis.call("HSET", created, topic, text(now()))
end
redis.call("HSET", members, node, op .. ":" .. listeners)
redis.call("SADD", held, topic)
redis.call("ZREM", due, topic)
return 1
