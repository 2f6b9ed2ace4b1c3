-- Who is in a topic. Its record is a hash of
--   node 31 channel 31 key  an entry, "ref:previous ref:op:meta"; the meta is a JSON object
--   31 31 key               the entries of that key that fade, the oldest first: JSON of ["ms 31 node 31 channel", ...]
--   (nothing)               "number:ref", of the last diff and of the last entry
-- Metas are JSON from the beginning, and put together as text: decoded and encoded they would lose [] and large numbers.
local SEP = "\31"

-- Return ref, previous ref, op and meta of an entry.
local function parts(entry)
  return string.match(entry, "^(%d+):(%d*):(%d+):(.*)$")
end

-- Return the meta of an entry as clients see it.
local function shown(entry)
  local ref, previous, _, meta = parts(entry)
  local own = string.sub(meta, 2, -2)
  local before = previous ~= "" and ',"phx_ref_prev":"' .. previous .. '"' or ""
  return "{" .. own .. (own ~= "" and "," or "") .. '"phx_ref":"' .. ref .. '"' .. before .. "}"
end

-- Take note of an entry that has come or gone. `side` holds the keys in their order, and by each key its metas.
local function note(side, key, entry)
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

-- Return the entries of a key that fade.
local function fading(record, key)
  local found = redis.call("HGET", record, SEP .. SEP .. key)
  return found and cjson.decode(found) or {}
end

local function set_fading(record, key, entries)
  if #entries == 0 then
    redis.call("HDEL", record, SEP .. SEP .. key)
  else
    redis.call("HSET", record, SEP .. SEP .. key, cjson.encode(entries))
  end
end

-- Return the place of an entry among those that fade, and the ms until which it does; nil if it does not.
-- owner  node 31 channel
local function place_of(entries, owner)
  for i, one in ipairs(entries) do
    local ms, its = string.match(one, "^(%d+)\31(.*)$")
    if its == owner then
      return i, tonumber(ms)
    end
  end
end

-- Let an entry fade until then.
local function fade(record, key, owner, ms)
  local entries = fading(record, key)
  entries[place_of(entries, owner) or #entries + 1] = text(ms) .. SEP .. owner
  set_fading(record, key, entries)
end

-- Take an entry out of everything, and return it; nil if there is none.
-- tracked  what the sets of the nodes' entries begin with
local function remove(record, tracked, topic, owner, key)
  local node, channel = string.match(owner, "^([^\31]*)\31(.*)$")
  local entry = redis.call("HGET", record, owner .. SEP .. key)
  redis.call("SREM", tracked .. node, topic .. SEP .. channel .. SEP .. key)
  if entry then
    redis.call("HDEL", record, owner .. SEP .. key)
    local entries = fading(record, key)
    local place = place_of(entries, owner)
    if place then
      table.remove(entries, place)
      set_fading(record, key, entries)
    end
  end
  return entry or nil
end
