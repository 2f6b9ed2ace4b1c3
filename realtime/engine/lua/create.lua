#!lua
-- Create topics, or give those that exist and are empty their time anew.
-- KEYS     topics, created, due, window
-- ARGV     the caller's window, seed, topics...
-- Returns  how many are new
local topics, created, due, window = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local own_window, seed = ARGV[1], ARGV[2]

--# include due_time
local born = text(now())
local new = 0
for i = 3, #ARGV do
  local topic = ARGV[i]
  local is_new = redis.call("ZADD", topics, "NX", 0, topic) == 1
  if is_new then
    new = new + 1
    redis.call("HSET", created, topic, born)
  end
  if is_new or redis.call("ZSCORE", due, topic) then  -- else somebody listens
    redis.call("ZADD", due, due_time(window, own_window, seed + i), topic)
  end
end
return new
