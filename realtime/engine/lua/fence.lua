-- Refuse a leader that slept and was replaced: return the newer "term|holder", or nil if the caller leads.
-- The highest term seen stays in the key, in the partition of the data that it guards. Of two holders with one term
-- (possible after the engine lost data) the first to act is the leader.
local function fence(key, term, holder)
  local seen = redis.call("GET", key)
  local seen_term, seen_holder = string.match(seen or "", "^(%d+)|(.*)$")
  if seen_term and tonumber(term) < tonumber(seen_term) then
    return seen
  end
  if seen_term and tonumber(term) == tonumber(seen_term) then
    return seen_holder ~= holder and seen or nil
  end
  redis.call("SET", key, term .. "|" .. holder)
  return nil
end
