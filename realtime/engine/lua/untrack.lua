#!lua flags=allow-oom
-- Let entries leave a topic, and tell every node of it in the same step, with one diff for all; or let them fade, which
-- tells nobody, so that whoever comes back soon takes their place.
-- KEYS     record
-- ARGV     topic, bus, what the sets of the nodes' entries begin with, then of each: node, channel, key, and ms that it
--          fades or 0
-- Returns  the number of the diff, 0 if nothing has changed
local record = KEYS[1]
local topic, bus, tracked = ARGV[1], ARGV[2], ARGV[3]

--# include now
--# include presences
local leaves = {}
for i = 4, #ARGV, 4 do
  local owner, key, grace = ARGV[i] .. SEP .. ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  if grace == 0 then
    local entry = remove(record, tracked, topic, owner, key)
    if entry then
      note(leaves, key, entry)
    end
  elseif redis.call("HGET", record, owner .. SEP .. key) then
    fade(record, key, owner, now() + grace)
  end
end
return publish(record, bus, {}, leaves, 0)
