#!lua flags=allow-oom
-- Give back what a dead node held, a batch at a time. Any later leader can go on where one stopped.
-- KEYS     fence, topics, due, nodes, held, tracked, window, ledger
-- ARGV     term, holder, node, its last sign of life as the leader knows it, limit, the caller's window, seed, and what
--          these keys begin with: a topic's members, its presences, those that fade, its bus, the nodes' entries
-- Returns  {"", "alive"} if it has given another one, or {"", "more", "later" or "done", topics that it left...},
--          or {the newer "term|holder"}; "later" if all that is left still fades
local fence_key, topics, due, nodes, held, own = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local window, ledger = KEYS[7], KEYS[8]
local term, holder, node, known, limit, own_window, seed = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local members, presences, fading, bus, tracked = ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12]

--# include fence
--# include due_time
--# include presences
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

-- Who was there by this node leaves, but those whom a node that took its leave has let fade: they may be back soon.
local leaves, kept = {}, {}
local popped = redis.call("SPOP", own, limit)
for _, member in ipairs(popped) do
  local topic, channel, key = string.match(member, "^([^\31]*)\31([^\31]*)\31(.*)$")
  local record, owner = presences .. topic, node .. SEP .. channel
  local entry = redis.call("HGET", record, owner .. SEP .. key)
  local ms = entry and tonumber((select(4, parts(entry))))
  if ms and ms > now() then
    kept[#kept + 1] = member
  else
    if not leaves[topic] then
      leaves[#leaves + 1] = topic
      leaves[topic] = {}
    end
    note(leaves[topic], key, remove(record, fading .. topic, tracked, topic, owner, key))
  end
end
for _, member in ipairs(kept) do
  redis.call("SADD", own, member)
end
for _, topic in ipairs(leaves) do
  publish(presences .. topic, bus .. topic, {}, leaves[topic], 0)
end

local is_nowhere = redis.call("SCARD", held) == 0
if is_nowhere and redis.call("SCARD", own) == 0 then
  redis.call("ZREM", nodes, node)
  left[2] = "done"
elseif is_nowhere and #kept == #popped then
  left[2] = "later"
end
if #left > 2 then
  redis.call("HINCRBY", ledger, "removed", #left - 2)
end
return left
