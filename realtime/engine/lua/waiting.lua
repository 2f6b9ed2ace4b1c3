#!lua flags=no-writes
-- What a leader would find: topics whose time has come, and those whose time will.
-- KEYS     due
-- Returns  {how many may be collected now, how many later, ms until the next of them or ""}
local due = KEYS[1]

--# include now
local at = text(now())
local next = redis.call("ZRANGE", due, "(" .. at, "+inf", "BYSCORE", "LIMIT", 0, 1, "WITHSCORES")
return {
  redis.call("ZCOUNT", due, "-inf", at),
  redis.call("ZCOUNT", due, "(" .. at, "+inf"),
  next[2] and text(next[2] - at) or "",
}
