#!lua
-- Let entries come into a topic, or change, and tell every node of it in the same step, with one diff for all.
-- One of whose key another fades takes that one's place: nothing is told if its meta is the same.
-- KEYS     nodes, topics, record, fading, tracked
-- ARGV     node, topic, bus, op, what the sets of the nodes' entries begin with, then of each: channel, key, meta
-- Returns  the number of the diff, 0 if nothing has changed; or -1 if the node is not alive, -2 if there is no such
--          topic, and then nothing has changed
local nodes, topics, record, fading, own = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local node, topic, bus, op, tracked = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

--# include now
--# include presences
local seen = redis.call("ZSCORE", nodes, node)
if not seen or tonumber(seen) < 0 then
  return -1  -- or a dead node would add an entry that nobody will ever remove
end
if not redis.call("ZSCORE", topics, topic) then
  return -2  -- nor would anybody collect its record
end

-- Take the entry of a key that fades and ends first, and return it; nil if none does.
local function take_over(key)
  local owner = next_to_go(fading, key)
  return owner and remove(record, fading, tracked, topic, owner, key)
end

local joins, leaves = {}, {}
local _, last = counters(record)
local at = now() * 1000
for i = 6, #ARGV, 3 do
  local channel, key, meta = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local owner = node .. SEP .. channel
  local held = redis.call("HGET", record, owner .. SEP .. key)
  if not is_late(op, held) then
    if held then
      unfade(fading, owner, key, held)
    end
    held = held or take_over(key)
    local ref, previous, _, _, known = parts(held or "0::0::")
    if known ~= meta then
      last = math.max(last + 1, at)
      previous = held and ref or ""
      ref = text(last)
    end
    local entry = table.concat({ref, previous, op, "", meta}, ":")
    redis.call("HSET", record, owner .. SEP .. key, entry)
    redis.call("SADD", own, topic .. SEP .. channel .. SEP .. key)
    if known ~= meta then
      note(joins, key, entry)
      note(leaves, key, held)
    end
  end
end
return publish(record, bus, joins, leaves, last)
