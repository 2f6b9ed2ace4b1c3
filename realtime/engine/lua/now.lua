-- Return the engine's time in ms.
local function now()
  local time = redis.call("TIME")
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Return ms as text: tostring would write them with an exponent.
local function text(ms)
  return string.format("%.0f", ms)
end
