#!lua flags=allow-oom
-- Collect topics whose time has come, with all their records.
-- KEYS     fence, topics, created, due, ledger
-- ARGV     term, holder, limit, prefixes of the records of a topic: that of its members, then others...
-- Returns  {"", topics...} or {the newer "term|holder"}
local fence_key, topics, created, due, ledger = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local term, holder, limit, members = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

--# include fence
--# include now
local newer = fence(fence_key, term, holder)
if newer then
  return {newer}
end
local until_now = text(now())
local collected = {""}
for _, topic in ipairs(redis.call("ZRANGE", due, "-inf", until_now, "BYSCORE", "LIMIT", 0, limit)) do
  redis.call("ZREM", due, topic)
  if redis.call("HLEN", members .. topic) == 0 then
    redis.call("ZREM", topics, topic)
    redis.call("HDEL", created, topic)
    for i = 4, #ARGV do
      redis.call("UNLINK", ARGV[i] .. topic)
    end
    collected[#collected + 1] = topic
  end
end
if #collected > 1 then
  redis.call("HINCRBY", ledger, "collected", #collected - 1)
end
return collected
