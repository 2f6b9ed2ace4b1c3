#!lua flags=allow-oom
-- A node ends. What it still holds is left to the leader, which need not wait to be sure.
-- KEYS  nodes, held, tracked
-- ARGV  node
local nodes, held, tracked = KEYS[1], KEYS[2], KEYS[3]
local node = ARGV[1]

if redis.call("SCARD", held) == 0 and redis.call("SCARD", tracked) == 0 then
  return redis.call("ZREM", nodes, node)
end
return redis.call("ZADD", nodes, "XX", "CH", -1, node)
