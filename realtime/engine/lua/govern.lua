#!lua flags=allow-oom
-- A leader takes over a partition: whoever led before it can do nothing here any more.
-- KEYS     fence, window
-- ARGV     term, holder, the window of collection, "60000 300000"
-- Returns  "" or the newer "term|holder"
local fence_key, window = KEYS[1], KEYS[2]
local term, holder, published = ARGV[1], ARGV[2], ARGV[3]

--# include fence
local newer = fence(fence_key, term, holder)
if newer then
  return newer
end
redis.call("SET", window, published)
return ""
