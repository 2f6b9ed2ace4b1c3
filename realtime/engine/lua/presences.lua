-- Who is in a topic. Its record is a hash of
--   node 31 channel 31 key  an entry, "ref:previous ref:op:ms:meta"; ms until which it fades, or nothing; a JSON object
--   (nothing)               "number:ref", of the last diff and of the last entry
-- Those that fade are in a sorted set as well, so that one is found however many share its key. All have one score, so
-- that they are in the order of their names, which for those of a key is that of their ends:
--   bytes of key : key 31 ms 31 ref 31 node 31 channel
-- Metas are JSON from the beginning, and put together as text: decoded and encoded they would lose [] and large numbers.
local SEP = "\31"

-- Return ref, previous ref, op, ms and meta of an entry.
local function parts(entry)
  return string.match(entry, "^(%d+):(%d*):(%d+):(%d*):(.*)$")
end

-- Return whether a command was overtaken by a later one, which has written the entry.
local function is_late(op, entry)
  return entry and tonumber(op) < tonumber((select(3, parts(entry))))
end

-- Return the meta of an entry as clients see it.
local function shown(entry)
  local ref, previous, _, _, meta = parts(entry)
  local own = string.sub(meta, 2, -2)
  local before = previous ~= "" and ',"phx_ref_prev":"' .. previous .. '"' or ""
  return "{" .. own .. (own ~= "" and "," or "") .. '"phx_ref":"' .. ref .. '"' .. before .. "}"
end

-- Take note of an entry that has come or gone, if there is one. `side` holds the keys in their order, and by each key
-- its metas.
local function note(side, key, entry)
  if not entry then
    return
  end
  if not side[key] then
    side[#side + 1] = key
    side[key] = {}
  end
  table.insert(side[key], shown(entry))
end

local function written(side)
  local found = {}
  for i, key in ipairs(side) do
    found[i] = cjson.encode(key) .. ':{"metas":[' .. table.concat(side[key], ",") .. "]}"
  end
  return "{" .. table.concat(found, ",") .. "}"
end

-- Return the numbers of the last diff and of the last entry.
local function counters(record)
  local number, ref = string.match(redis.call("HGET", record, "") or "0:0", "^(%d+):(%d+)$")
  return tonumber(number), tonumber(ref)
end

-- Let every node know what has come and gone, and return the number of that diff; 0 if nothing has.
-- ref  of the last entry
local function publish(record, bus, joins, leaves, ref)
  if #joins == 0 and #leaves == 0 then
    return 0
  end
  local number, last = counters(record)
  redis.call("HSET", record, "", text(number + 1) .. ":" .. text(math.max(last, ref)))
  local diff = '{"joins":' .. written(joins) .. ',"leaves":' .. written(leaves) .. "}"
  redis.call("PUBLISH", bus, '["presence_diff",null,"' .. text(number + 1) .. '",' .. diff .. "]")
  return number + 1
end

-- Return what the names of those that fade of a key begin with.
local function of_key(key)
  return #key .. ":" .. key .. SEP
end

-- Take an entry out of those that fade, if it is among them.
-- owner  node 31 channel
local function unfade(fading, owner, key, entry)
  local ref, _, _, ms = parts(entry)
  if ms ~= "" then
    redis.call("ZREM", fading, of_key(key) .. ms .. SEP .. ref .. SEP .. owner)
  end
end

-- Let an entry fade until then.
local function fade(record, fading, owner, key, entry, op, ms)
  unfade(fading, owner, key, entry)
  local ref, previous, _, _, meta = parts(entry)
  redis.call("HSET", record, owner .. SEP .. key, table.concat({ref, previous, op, text(ms), meta}, ":"))
  redis.call("ZADD", fading, 0, of_key(key) .. text(ms) .. SEP .. ref .. SEP .. owner)
end

-- Return the owner of the entry of a key that fades and ends first; nil if none does.
local function next_to_go(fading, key)
  local first = of_key(key)
  local last = string.sub(first, 1, -2) .. "\32"
  local found = redis.call("ZRANGE", fading, "[" .. first, "(" .. last, "BYLEX", "LIMIT", 0, 1)[1]
  return found and string.match(found, "([^\31]*\31[^\31]*)$")
end

-- Take an entry out of everything, and return it; false if there is none.
-- tracked  what the sets of the nodes' entries begin with
local function remove(record, fading, tracked, topic, owner, key)
  local node, channel = string.match(owner, "^([^\31]*)\31(.*)$")
  local entry = redis.call("HGET", record, owner .. SEP .. key)
  redis.call("SREM", tracked .. node, topic .. SEP .. channel .. SEP .. key)
  if entry then
    redis.call("HDEL", record, owner .. SEP .. key)
    unfade(fading, owner, key, entry)
  end
  return entry
end
