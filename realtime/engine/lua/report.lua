#!lua flags=allow-oom
-- A node tells how many listen to topics that it is in. What it is not in stays as it is.
-- KEYS     members of each topic...
-- ARGV     node, op, listeners of each topic...
-- Returns  how many numbers were taken
local node, op = ARGV[1], ARGV[2]

local taken = 0
for i, members in ipairs(KEYS) do
  local member = redis.call("HGET", members, node)
  if member and tonumber(string.match(member, "^%d+")) <= tonumber(op) then
    redis.call("HSET", members, node, op .. ":" .. ARGV[i + 2])
    taken = taken + 1
  end
end
return taken
