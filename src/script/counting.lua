-- Counts one call against all limits that share a hash tag: checks every one, and charges all of them or none.
--
-- KEYS     hashes (a field for each counter, and fields with live overrides) and logs (sorted sets)
-- ARGV[1]  the plan, packed as src/script/arguments.rs has it
-- ARGV[2…] the names of the hash fields to read, in the order of KEYS
-- reply    1 if the call was charged, else 0; then six integers for each charge: its state (0 denied, 1 allowed,
--          2 unlimited), N (for gcra the burst), what is left, ms until all of it is back, ms until such a call can
--          pass, and the mark under which it was charged, by which it is given back. Giving back replies 1 alone.
--
-- Redis's Lua has no rollback. So everything is read before the first write, and the first write of an admission is
-- one that Redis refuses when memory runs out. Every number is an integer up to 2^53 and exact as a double, as long
-- as N * period in ms is no larger. Stored values are packed: text would take a fifth of the script's time.

local COUNT, GIVE_BACK, CHARGE = 0, 1, 2
local FIXED, COUNTER, GCRA, LOG = 1, 2, 3, 4
local DENIED, ALLOWED, UNLIMITED = 0, 1, 2

local call, floor, ceil = redis.call, math.floor, math.ceil
local pack, read = struct.pack, struct.unpack

local clock = redis.call('TIME')
local us = clock[1] * 1000000 + clock[2]
local ms = floor(us / 1000)

-- Read every hash, each once.
local plan, size = ARGV[1], #ARGV[1]
local mode, begin = read('B', plan)
local values, names = {}, 1
for key = 1, #KEYS do
  local fields
  fields, begin = read('<H', plan, begin)
  if fields > 0 then
    values[key] = call('HMGET', KEYS[key], unpack(ARGV, names + 1, names + fields))
    names = names + fields
  end
end

local admitted = true
local held -- by key: a live override stands in the hash
local reply, filled
local hsets, zadds, cuts, ends -- what to write: by key for HSET, ZADD, ZREMRANGEBYRANK, by key the least PTTL

-- Check the charges as if all will pass. If one denies after others were booked, check once more and book nothing.
repeat
  local booked = false
  hsets, zadds, cuts, ends = nil, nil, nil, nil
  reply, filled = {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1 -- room for two charges from the start
  local pos = begin
  while pos <= size do
    local form, shadow, later, key, field, name, live_key, live_field, limit, period, cost, extra
    form, shadow, later, key, field, name, live_key, live_field, limit, period, cost, extra, pos =
      read('<BBBHHHHHdddd', plan, pos)
    local state = ALLOWED

    -- A live override: `<N|unlimited>`, then the unix ms of its end where it has one. Too large an N is the largest.
    local live = live_key > 0 and values[live_key][live_field]
    if live then
      local quota, over = string.match(live, '^(%w+) (%d+)$')
      quota = quota or string.match(live, '^%w+$')
      if not over or ms < over + 0 then
        held = held or {}
        held[live_key] = true
        if quota == 'unlimited' then
          state = UNLIMITED
        elseif quota and string.find(quota, '^%d+$') then
          limit = math.min(quota + 0, form == LOG and 10000 or 1000000000, floor(9007199254740992 / period))
        end
      end
    end

    -- The laws stand in src/limit/algorithm/, one file each; this is their arithmetic. Each form says what is left
    -- before the call and its waits, and, if the call may be booked, what to write and how long that will matter.
    -- A stored time ahead of the clock holds; one that is more than a period ahead is not believed.
    local stored, value, stop = field > 0 and values[key][field], nil, nil
    local need = later == 1 and 1 or cost
    local books = admitted and cost > 0
    local left, reset, wait, mark = 0, 0, 0, 0

    if state == UNLIMITED or limit < 0 then
      state, limit, books = UNLIMITED, 0, false

    elseif mode == GIVE_BACK then
      -- What the call's own mark still finds is taken off; `extra` is the mark.
      if books and form == LOG then
        local count = call('ZCOUNT', KEYS[key], extra, extra)
        if count > 0 then
          local rank = call('ZCOUNT', KEYS[key], '-inf', extra - 1)
          cuts = cuts or {}
          cuts[#cuts + 1] = {key, rank, rank + (count < cost and count or cost) - 1}
        end
      elseif not books or not stored then
        books = false
      elseif form == FIXED and #stored == 12 then
        local start, count = read('<I6I6', stored)
        if start == extra then value = pack('<I6I6', start, count > cost and count - cost or 0) end
      elseif form == COUNTER and #stored == 18 then
        local window, current, previous = read('<I6I6I6', stored)
        if window == extra then
          value = pack('<I6I6I6', window, current > cost and current - cost or 0, previous)
        elseif window == extra + 1 then
          value = pack('<I6I6I6', window, current, previous > cost and previous - cost or 0)
        end
      elseif form == GCRA and #stored == 13 then
        local time, level = read('<I6I7', stored)
        if time >= extra and time <= ms + period then
          local now = time > ms and time or ms
          local undrained = cost * period - (now - extra) * limit
          level = level - (now - time) * limit
          if undrained > 0 and level > 0 then
            value = pack('<I6I7', now, level > undrained and level - undrained or 0)
          end
        end
      end

    elseif limit == 0 then
      state, reset, wait, books = DENIED, period, period, false

    elseif form == FIXED then
      local start, count = nil, 0
      if stored and #stored == 12 then
        start, count = read('<I6I6', stored)
        if start + period <= ms or start > ms + period then start, count = nil, 0 end
      end
      start = start or extra < 0 and ms or ms - (ms - extra) % period
      local rest = start + period - ms
      mark, left = start, limit - count
      if mode == COUNT and need > left then
        state, wait = DENIED, need <= limit and rest or period
      elseif books then
        if count == 0 then stop = rest end
        count = count + cost
        if mode == CHARGE then count = math.min(count, floor(9007199254740992 / period)) end
        value = pack('<I6I6', start, count)
      end
      reset = count > 0 and rest or 0

    elseif form == COUNTER then
      local window, current, previous = floor(ms / period), 0, 0
      if stored and #stored == 18 then
        local last, now, before = read('<I6I6I6', stored)
        if last == window or last == window + 1 then
          window, current, previous = last, now, before
        elseif last == window - 1 then
          previous = now
        end
      end
      local rest = (window + 1) * period - ms -- more than a period where the stored window is ahead
      local free = limit - current
      mark, left = window, free - ceil(previous * (rest < period and rest or period) / period)
      if mode == COUNT and need > left then
        state = DENIED
        if need > limit then
          wait = period
        elseif need <= free then
          wait = rest - floor((free - need) * period / previous)
        else
          wait = rest + period - floor((limit - need) * period / current)
        end
      elseif books then
        if current == 0 then stop = rest + period end
        current = current + cost
        if mode == CHARGE then current = math.min(current, floor(9007199254740992 / period)) end
        value = pack('<I6I6I6', window, current, previous)
      end
      reset = current > 0 and rest + period or previous > 0 and rest or 0

    elseif form == GCRA then
      local burst = extra > 0 and extra or limit
      local now, level = ms, 0
      if stored and #stored == 13 then
        local time, before = read('<I6I7', stored)
        if time <= ms + period then
          now = time > ms and time or ms
          level = before - (now - time) * limit
          if level < 0 then level = 0 end
        end
      end
      mark, left = now, floor((burst * period - level) / period)
      if mode == COUNT and need > left then
        state, wait = DENIED, period
        if need <= burst then wait = ceil((level - (burst - need) * period) / limit) + (now - ms) end
      elseif books then
        level = level + cost * period
        if mode == CHARGE then level = math.min(level, 9007199254740992) end
        value = pack('<I6I7', now, level)
        stop = ceil(level / limit) + (now - ms)
      end
      reset = level > 0 and ceil(level / limit) + (now - ms) or 0
      limit = burst

    else -- LOG, in µs; a member begins with its time
      local span, now, number, last = period * 1000, us, 0, 0
      local entries, expired, ahead = 0, 0, 0
      local newest = call('ZRANGE', KEYS[key], 0, 0, 'REV')[1]
      if newest then
        last = tonumber(newest) or tonumber(string.match(newest, '^%d+'))
        if last > us + span then
          ahead = call('ZCOUNT', KEYS[key], us + span + 1, '+inf')
          newest = call('ZRANGE', KEYS[key], us + span, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, 1)[1]
          last = newest and (tonumber(newest) or tonumber(string.match(newest, '^%d+'))) or 0
        end
        if last >= us then
          now = last
          number = (string.match(newest, ':(%d+)$') or 0) + 1
        end
        expired = call('ZCOUNT', KEYS[key], '-inf', now - span)
        entries = call('ZCARD', KEYS[key]) - ahead - expired
      end
      mark, left = now, limit - entries
      if mode == COUNT and need > left then
        state, wait = DENIED, period
        if need <= limit then
          local rank = expired + need - left - 1 -- the last entry that has to go
          local entry = call('ZRANGE', KEYS[key], rank, rank)[1]
          wait = ceil(((tonumber(entry) or tonumber(string.match(entry, '^%d+'))) + span - us) / 1000)
        end
      elseif books then
        last, entries = now, entries + cost
        stop = ceil((now + span) / 1000) - ms
        zadds, cuts = zadds or {}, cuts or {}
        zadds[#zadds + 1] = {key, now, number, cost}
        -- Trimmed in steps, so that nobody waits for thousands of entries to go at once.
        if expired > 0 then cuts[#cuts + 1] = {key, 0, math.min(expired, cost + 100) - 1} end
        if ahead > 0 then cuts[#cuts + 1] = {key, -math.min(ahead, cost + 100), -1} end
      end
      reset = entries > 0 and ceil((last + span - us) / 1000) or 0
    end

    if state == DENIED then
      if shadow == 0 and mode == COUNT then admitted = false end
    elseif books then
      booked = true
      left = left - cost
      if value then
        hsets = hsets or {}
        local list = hsets[key]
        if list then
          local n = #list
          list[n + 1], list[n + 2] = ARGV[name], value
        else
          hsets[key] = {ARGV[name], value}
        end
      end
      if stop then
        ends = ends or {}
        if stop > (ends[key] or 0) then ends[key] = stop end
      end
    end
    reply[filled + 1], reply[filled + 2], reply[filled + 3] = state, limit, left > 0 and left or 0
    reply[filled + 4], reply[filled + 5], reply[filled + 6] = reset, wait, mark
    filled = filled + 6
  end
until admitted or not booked

if not admitted then reply[1] = 0 end
reply[mode == GIVE_BACK and 2 or filled + 1] = nil

-- Expiry: never shortened; none while a live override stands in the hash, be it of a limit that this call has not met.
local persist
if held or ends then
  for key = 1, #KEYS do
    local stop = ends and ends[key]
    if held and held[key] then
      if stop then ends[key] = nil end
      if call('PTTL', KEYS[key]) >= 0 then
        persist = persist or {}
        persist[#persist + 1] = key
      end
    elseif stop then
      local ttl = call('PTTL', KEYS[key])
      if ttl >= stop then
        ends[key] = nil
      elseif ttl == -1 and values[key] then
        local all = call('HGETALL', KEYS[key])
        for i = 1, #all, 2 do
          if string.find(all[i], ':override$') then
            local over = string.match(all[i + 1], '^%w+ (%d+)$')
            if not over or ms < over + 0 then ends[key] = nil end
          end
        end
      end
    end
  end
end

-- From here on only writes. Nothing is booked if the call is denied.
if hsets then
  for key = 1, #KEYS do
    if hsets[key] then call('HSET', KEYS[key], unpack(hsets[key])) end
  end
end
if zadds then
  for i = 1, #zadds do
    -- A member is its time, from the second of the same µs on with a number: members never collide.
    local key, now, number, cost = zadds[i][1], string.format('%.0f', zadds[i][2]), zadds[i][3], zadds[i][4]
    local stop = number + cost
    while number < stop do
      local list = {}
      for member = number, math.min(stop, number + 1000) - 1 do
        list[#list + 1] = now
        list[#list + 1] = member == 0 and now or now .. string.format(':%09.0f', member)
      end
      call('ZADD', KEYS[key], unpack(list))
      number = number + 1000
    end
  end
end
if cuts then
  for i = 1, #cuts do call('ZREMRANGEBYRANK', KEYS[cuts[i][1]], cuts[i][2], cuts[i][3]) end
end
if ends then
  for key = 1, #KEYS do
    if ends[key] then call('PEXPIRE', KEYS[key], ends[key]) end
  end
end
if persist then
  for i = 1, #persist do call('PERSIST', KEYS[persist[i]]) end
end
return reply
