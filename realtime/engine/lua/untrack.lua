#!lua flags=allow-oom
-- Let entries leave a topic, and tell every node of it in the same step, with one diff for all; or let them fade, which
-- tells nobody, so that whoever comes back soon takes their place.
-- KEYS     record, fading
-- ARGV     topic, bus, op, what the sets of the nodes' entries begin with, then of each: node, channel, key, and ms that
--          it fades or 0
-- Returns  the number of the diff, 0 if nothing has changed
local record, fading = KEYS[1], KEYS[2]
local topic, bus, op, tracked = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

--# include now
--# include presences
local leaves = {}
for i = 5, #ARGV, 4 do
  local owner, key, grace = ARGV[i] .. SEP .. ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local entry = redis.call("HGET", record, owner .. SEP .. key)
  if not is_late(op, entry) then
    if grace == 0 then
      note(leaves, key, remove(record, fading, tracked, topic, owner, key))
    elseif entry then
      fade(record, fading, owner, key, entry, op, now() + grace)
    end
  end
end
return publish(record, bus, {}, leaves, 0)
