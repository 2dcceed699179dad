-- The load: GETs from several clients in turn, identified by x-api-key; with "half", every second request is of
-- the same number of other clients, identified by x-partner. Prints one line of JSON.
--
--   wrk … -s wrk.lua URL -- KEYS PATH [half]

local requests, at = {}, 0

local function get(path, header, name, number)
  return wrk.format("GET", path, { [header] = string.format("%s-%06d", name, number) })
end

function init(arguments)
  local path = arguments[2]
  for number = 1, tonumber(arguments[1]) do
    requests[#requests + 1] = get(path, "x-api-key", "client", number)
    if arguments[3] == "half" then
      requests[#requests + 1] = get(path, "x-partner", "partner", number)
    end
  end
  -- not always the same first ones, where there are more than a run gets through
  math.randomseed(os.time())
  at = math.random(#requests)
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "micros": %d, "denied": %d, "broken": %d, "p50": %d, "p99": %d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
