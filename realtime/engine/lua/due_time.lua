--# include now
-- Return when a topic that is empty from now on may be collected: in ms of the engine's clock.
-- published  key of the leader's window, which governs topics of every process
-- own        the caller's window, "60000 300000", where no leader has published one
-- seed       of the jitter: scripts of Redis draw the same numbers every time
local function due_time(published, own, seed)
  local earliest, latest = string.match(redis.call("GET", published) or own, "^(%d+) (%d+)$")
  math.randomseed(tonumber(seed))
  -- Not math.random(earliest, latest), which knows no number beyond 31 bits: 24 days.
  local wait = earliest + math.floor(math.random() * (latest - earliest + 1))
  return text(now() + wait)
end
