#!lua flags=no-writes
-- What a leader would find: topics whose time has come, and those whose time will.
-- KEYS     due
-- Returns  {how many may be collected now, how many later, ms until the next of them or ""}
local due = KEYS[1]

local time = redis.call("TIME")
local now = string.format("%.0f", time[1] * 1000 + math.floor(time[2] / 1000))
local next = redis.call("ZRANGE", due, "(" .. now, "+inf", "BYSCORE", "LIMIT", 0, 1, "WITHSCORES")
return {
  redis.call("ZCOUNT", due, "-inf", now),
  redis.call("ZCOUNT", due, "(" .. now, "+inf"),
  next[2] and string.format("%.0f", next[2] - now) or "",
}
