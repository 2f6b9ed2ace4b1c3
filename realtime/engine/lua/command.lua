#!lua flags=allow-oom
-- Tell every node something: write it down for those whose bus is broken just now, and ring.
-- KEYS     commands
-- ARGV     what, channel, how long to keep it in ms, how many to keep at most
-- Returns  its id, "ms-number"
local id = redis.call("XADD", KEYS[1], "MAXLEN", "~", ARGV[4], "*", "command", ARGV[1])
redis.call("PEXPIRE", KEYS[1], ARGV[3])
redis.call("PUBLISH", ARGV[2], id)
return id
