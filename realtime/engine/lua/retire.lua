#!lua flags=allow-oom
-- A node ends. What it still holds is left to the leader, which need not wait to be sure.
-- KEYS  nodes, held
-- ARGV  node
local nodes, held = KEYS[1], KEYS[2]
local node = ARGV[1]

if redis.call("SCARD", held) == 0 then
  return redis.call("ZREM", nodes, node)
end
return redis.call("ZADD", nodes, "XX", "CH", -1, node)
