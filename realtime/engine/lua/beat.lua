#!lua flags=allow-oom
-- A node says that it lives.
-- KEYS     nodes, held
-- ARGV     node, "new" if it has just taken this name
-- Returns  how many topics it holds; or -1 if it was declared dead, or is not known
local nodes, held = KEYS[1], KEYS[2]
local node, is_new = ARGV[1], ARGV[2] == "new"

--# include now
local seen = redis.call("ZSCORE", nodes, node)
if seen and tonumber(seen) < 0 or not seen and not is_new then
  return -1
end
redis.call("ZADD", nodes, text(now()), node)
return redis.call("SCARD", held)
