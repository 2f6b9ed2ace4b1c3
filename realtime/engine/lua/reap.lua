#!lua flags=allow-oom
-- Give back what a dead node held, a batch at a time. Any later leader can go on where one stopped.
-- KEYS     fence, topics, due, nodes, held, window, ledger
-- ARGV     term, holder, node, its last sign of life as the leader knows it, limit, prefix of a topic's members,
--          the caller's window, seed
-- Returns  {"", "alive"} if it has given another one, or {"", "more" or "done", topics that it left...},
--          or {the newer "term|holder"}
local fence_key, topics, due, nodes, held, window, ledger = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local term, holder, node, known, limit, members = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local own_window, seed = ARGV[7], ARGV[8]

--# include fence
--# include due_time
local newer = fence(fence_key, term, holder)
if newer then
  return {newer}
end
local seen = redis.call("ZSCORE", nodes, node)
if seen and tonumber(seen) >= 0 and tonumber(seen) ~= tonumber(known) then
  return {"", "alive"}
end
if seen then
  redis.call("ZADD", nodes, -1, node)  -- for ever: whoever comes back takes another name
end
local left = {"", "more"}
for i, topic in ipairs(redis.call("SPOP", held, limit)) do
  if redis.call("HDEL", members .. topic, node) == 1 then
    left[#left + 1] = topic
  end
  if redis.call("HLEN", members .. topic) == 0 and redis.call("ZSCORE", topics, topic) then
    redis.call("ZADD", due, "NX", due_time(window, own_window, seed + i), topic)
  end
end
if redis.call("SCARD", held) == 0 then
  redis.call("ZREM", nodes, node)
  left[2] = "done"
end
if #left > 2 then
  redis.call("HINCRBY", ledger, "removed", #left - 2)
end
return left
