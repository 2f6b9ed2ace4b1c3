#!lua flags=no-writes
-- Every node, with its last sign of life.
-- KEYS     nodes
-- ARGV     the keys of what they hold, without the node's name
-- Returns  {now in ms, {node, ms of its last sign of life or -1 if it is dead, topics it holds}, ...}
local nodes, held = KEYS[1], ARGV[1]

--# include now
local found = {text(now())}
local listed = redis.call("ZRANGE", nodes, 0, -1, "WITHSCORES")
for i = 1, #listed, 2 do
  found[#found + 1] = {listed[i], listed[i + 1], redis.call("SCARD", held .. listed[i])}
end
return found
