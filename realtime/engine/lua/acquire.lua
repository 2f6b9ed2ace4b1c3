#!lua flags=allow-oom
-- Take the leader's lease if it is free, or renew it.
-- KEYS     lease  "term|holder|ttl|since", which ends by itself
--          term   the last one that was granted
-- ARGV     holder, ttl in ms, the highest term that the caller has heard of
-- Returns  {1, term, since} if the caller leads now, {0, term, since, holder} if another does
local lease, last_term = KEYS[1], KEYS[2]
local caller, ttl, heard = ARGV[1], ARGV[2], ARGV[3]

--# include now
local held = redis.call("GET", lease)
if held then
  local term, holder, given, since = string.match(held, "^(%d+)|(.*)|(%d+)|(%d+)$")
  if holder == caller then
    redis.call("SET", lease, table.concat({term, holder, ttl, since}, "|"), "PX", ttl)
    return {1, term, since}
  end
  -- More left than was ever given: the engine's clock was set back, and the holder may be long dead. No end at all, or
  -- not of this form: somebody set it by hand, and nobody would ever lead.
  local left = redis.call("PTTL", lease)
  if term and left >= 0 and left <= tonumber(given) then
    return {0, term, since, holder}
  end
end
-- Terms grow even if the key was lost, as the clock does, or as the fences remember.
local at = now()
local since = text(at)
local next = math.max(tonumber(redis.call("GET", last_term) or "0") + 1, at)
local term = text(math.max(next, heard + 1))
redis.call("SET", last_term, term)
redis.call("SET", lease, table.concat({term, caller, ttl, since}, "|"), "PX", ttl)
return {1, term, since}
