-- Counts one call against all limits that share a hash tag: checks each one, and charges all of them or none.
--
-- KEYS     hashes (a field for each counter, and fields with live overrides) and logs (rings of times in strings)
-- ARGV[1]  the plan, packed as in arguments.rs beside this file
-- ARGV[2…] the names of the hash fields to read, in the order of KEYS
-- reply    packed. First a byte: 1 if the call was charged, else 0. Then for each charge a byte with its state (0
--          denied, 1 allowed, 2 unlimited), and five numbers of 7 bytes: N (for gcra the burst), what is left, ms until
--          the whole quota is available again, ms until such a call can pass, and the mark of the charge, which a refund
--          needs. The reply to a refund is only the first byte, 1.
--
-- Redis's Lua has no rollback. So everything is read before the first write, and the first write of an admission is
-- one that Redis refuses if memory runs out. Every number is an integer up to 2^53, which a double holds exactly, as
-- long as N * period in ms is no larger. Stored values and the reply are packed: text would take a fifth of the
-- script's time, a list of integers a tenth, and more time in the proxy.

local COUNT, GIVE_BACK, CHARGE = 0, 1, 2
local FIXED, COUNTER, GCRA, LOG = 1, 2, 3, 4
local DENIED, ALLOWED, UNLIMITED = 0, 1, 2

local call, floor, ceil = redis.call, math.floor, math.ceil
local pack, read = struct.pack, struct.unpack

local clock = redis.call('TIME')
local us = clock[1] * 1000000 + clock[2]
local ms = floor(us / 1000)

-- Read every hash once.
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
local held -- by key: a live override is in the hash
local reply, filled
local hsets, rings, ends -- what to write: for HSET by key, one entry for each log, and the PTTL that each key needs

-- Check the charges as if all of them pass. If one is denied after others were booked, check again and book nothing.
repeat
  local booked = false
  hsets, rings, ends = nil, nil, nil
  reply, filled = {'\1', '', ''}, 1 -- space for two charges, so that the table grows less often
  local pos = begin
  while pos <= size do
    local form, shadow, later, key, field, name, live_key, live_field, limit, period, cost, extra
    form, shadow, later, key, field, name, live_key, live_field, limit, period, cost, extra, pos =
      read('<BBBHHHHHdddd', plan, pos)
    local state = ALLOWED

    -- A live override: `<N|unlimited>`, then the unix ms of its end, if any. Too large an N is cut to the largest.
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

    -- The laws are in ../model/algorithm/, one file each; this is their arithmetic. Each form computes what is left
    -- before the call, and the waits; and if the call may be booked, what to write and how long that has an effect.
    -- A stored time ahead of the clock is used; one that is more than a period ahead is ignored.
    local stored, value, stop = field > 0 and values[key][field], nil, nil
    local need = later == 0 and cost or later == 1 and 1 or 4 * cost
    local books = admitted and cost > 0
    local left, reset, wait, mark = 0, 0, 0, 0

    if state == UNLIMITED or limit < 0 then
      state, limit, books = UNLIMITED, 0, false

    elseif limit == 0 and mode ~= GIVE_BACK then
      state, reset, wait, books = DENIED, period, period, false

    elseif form == LOG then
      -- A ring: 29 bytes (the oldest and the newest time in µs, the time in ms until which the key lives at least, the
      -- capacity, the index of the oldest time, the number of times), then the times, of 7 bytes each.
      local oldest, last, lives, room, head, count = 0, 0, 0, 0, 0, 0
      local header = call('GETRANGE', KEYS[key], 0, 28)
      if #header == 29 then
        oldest, last, lives, room, head, count = read('<I7I7I6I3I3I3', header)
        if head >= room or count > room then oldest, last, lives, room, head, count = 0, 0, 0, 0, 0, 0 end
      end

      -- Find how many times are not later than a bound: in growing steps from the oldest on, then by bisection. A count
      -- finds first, if some times are ignored, the number of all others; then that of the expired ones. A refund finds
      -- the number of times before the mark, then that of the times up to and including the mark.
      local span, low, lower, newest, block, base = period * 1000, 0, nil, 0, '', 0
      local bound = mode == GIVE_BACK and extra - 1 or us + span
      repeat
        local again = not lower and (mode == GIVE_BACK or last > bound)
        if mode ~= GIVE_BACK and not again then bound = us - span end
        if oldest > bound then
          low = 0
        elseif last <= bound then
          low = count
        else
          local high, step, first = count - 1, 1, last
          low, newest = 1, oldest
          while low < high do
            local probe = math.min(low + step - 1, floor((low + high) / 2))
            local at = (head + probe) % room * 7
            if at < base or at + 7 > base + #block then
              block, base = call('GETRANGE', KEYS[key], at + 29, at + 252), at
            end
            local time = read('<I7', block, at - base + 1)
            if time > bound then
              high, first = probe, time
            else
              low, step, newest = probe + 1, step * 2, time
            end
          end
          if not again then oldest = first end
        end
        if again then
          lower = low
          if mode == GIVE_BACK then bound = extra else count, last = low, newest end
        end
      until not again

      local now, live, bytes, anew = last > us and last or us, count - low, '', false
      if mode == GIVE_BACK then
        books = books and low > lower
        live, anew = count, true
      else
        mark, left = now, limit - live
        if mode == COUNT and need > left then
          state, wait = DENIED, period
          if need <= limit then
            local time = oldest -- the last time that must expire first
            if need > left + 1 then
              local at = (head + low + need - left - 1) % room * 7
              time = read('<I7', call('GETRANGE', KEYS[key], at + 29, at + 35))
            end
            wait = ceil((time + span - us) / 1000)
          end
        elseif books then
          if live == 0 then oldest = now end
          last, count, head = now, live + cost, (head + low) % room
          bytes = string.rep(pack('<I7', now), cost)
          anew = count > room or count * 4 < room
        end
        if last > us - span then reset = ceil((last + span - us) / 1000) end
      end
      if books and state == ALLOWED then
        local from, ttl = (head + live) % room * 7, nil
        if anew then
          -- Write a new ring: longer, much shorter, or without the refunded times.
          if live > 0 then
            local old = call('GETRANGE', KEYS[key], head * 7 + 29, (head + live) * 7 + 28)
            if head + live > room then old = old .. call('GETRANGE', KEYS[key], 29, from + 28) end
            bytes = old .. bytes
          end
          if mode == GIVE_BACK then
            bytes = string.sub(bytes, 1, lower * 7) .. string.sub(bytes, math.min(low, lower + cost) * 7 + 1)
            count = #bytes / 7
            oldest, last = 0, 0
            if count > 0 then oldest, last = read('<I7', bytes), read('<I7', bytes, #bytes - 6) end
          else
            room = math.max(count, math.min(limit, floor(count * 1.5) + 2))
          end
          head, bytes = 0, bytes .. string.rep('\0', (room - count) * 7)
        end
        local till = ceil((last + span) / 1000)
        if till >= lives then
          -- A little later than needed, so that not every call has to set the expiry.
          lives = till + floor(period / 16)
          ttl = lives - ms
        end
        header, rings = pack('<I7I7I6I3I3I3', oldest, last, lives, room, head, count), rings or {}
        if anew then
          rings[#rings + 1] = {key, ttl, nil, header .. bytes}
        else
          -- The times that do not fit before the end of the ring are written after the header.
          local fits = room * 7 - from
          rings[#rings + 1] = {key, ttl, from + 29, header .. string.sub(bytes, fits + 1), string.sub(bytes, 1, fits)}
        end
      end

    elseif mode == GIVE_BACK then
      -- Refund what is left of the charge with this mark; `extra` is the mark.
      if not books or not stored then
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
        -- The mark contains the time of the charge, modulo 2^39 ms, and in 14 bits the number of ms in which the level
        -- before the charge drains.
        local time, level = read('<I6I7', stored)
        local since = (time - floor(extra / 16384)) % 549755813888
        if since < 274877906944 and time <= ms + period then
          local drained = since + (ms > time and ms - time or 0) - extra % 16384
          local due = cost * period - (drained > 0 and drained * limit or 0)
          if due > 0 and level > 0 then
            value = pack('<I6I7', time, level > due and level - due or 0)
          end
        end
      end

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
      local rest = (window + 1) * period - ms -- more than a period if the stored window is ahead
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

    else -- GCRA
      local burst = extra > 0 and extra or limit
      local full = burst * period
      local most = (later == 1 or mode == CHARGE) and math.min(2 * full - period, 9007199254740992) or full
      local now, level, skipped = ms, 0, 0
      if stored and #stored == 13 then
        local time, before = read('<I6I7', stored)
        if time <= ms + period then
          now = time > ms and time or ms
          local undrained = before - (now - time) * limit
          if undrained > 0 then
            -- If more than a full bucket was stored under a larger N or burst, skip some ms of the drain.
            if before > most then skipped = ceil((before - most) / limit) end
            level = undrained - skipped * limit
            if level < 0 then level, skipped = 0, ceil(undrained / limit) end
          end
        end
      end
      if later == 2 and cost > 0 then -- at least what drains during the life of the lease counts as used
        level = math.max(level, math.min(1000, floor(math.min(burst, limit) * period / (20 * limit))) * limit)
      end
      left = floor((full - level) / period)
      if mode == COUNT and need > left then
        state, wait = DENIED, period
        if need <= burst then wait = ceil((level - (burst - need) * period) / limit) + (now - ms) end
      elseif books then
        local held, back = floor(level / limit), 0
        level = level + cost * period
        if mode == CHARGE and level > most then level = most end
        local total = level
        if skipped > 0 then
          if now == ms then back = floor((most - level) / limit) end
          total = math.min(level + (skipped + back) * limit, 9007199254740992)
          -- The level as the next call will compute it.
          skipped = total > most and ceil((total - most) / limit) or 0
          level = math.max(total - (skipped + back) * limit, 0)
          left = floor((full - level) / period) + cost
        end
        value = pack('<I6I7', now - back, total)
        stop = ceil(total / limit) - back + (now - ms)
        held = held + back
        mark = (now - back) % 549755813888 * 16384 + (held < 16383 and held or 16383)
      end
      reset = level > 0 and ceil(level / limit) + (now - ms) or 0
      limit = burst
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
    filled = filled + 1
    reply[filled] = pack('<BI7I7I7I7I7', state, limit, left > 0 and left or 0, reset, wait, mark)
  end
until admitted or not booked

if not admitted then reply[1] = '\0' end
if mode == GIVE_BACK then filled = 1 end

-- Never shorten an expiry. Set none while a live override is in the hash, even one of a limit that this call omits.
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

-- From here on there are only writes. If the call is denied, nothing is booked.
if hsets then
  for key = 1, #KEYS do
    if hsets[key] then call('HSET', KEYS[key], unpack(hsets[key])) end
  end
end
if rings then
  for i = 1, #rings do
    local key, ttl, at, start, times = unpack(rings[i], 1, 5)
    if at then
      call('SETRANGE', KEYS[key], 0, start)
      call('SETRANGE', KEYS[key], at, times)
    else
      call('SET', KEYS[key], start, 'KEEPTTL')
    end
    if ttl then call('PEXPIRE', KEYS[key], ttl) end
  end
end
if ends then
  for key = 1, #KEYS do
    if ends[key] then call('PEXPIRE', KEYS[key], ends[key]) end
  end
end
if persist then
  for i = 1, #persist do call('PERSIST', KEYS[persist[i]]) end
end
return table.concat(reply, '', 1, filled)
