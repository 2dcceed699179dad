-- Put in front of the script: its clock and its keys' expiry are those of the hash `clock` and not of the server.
-- It notes every command in the list `trace` and every key that expires in `expired`, and holds the script to its
-- promises: no read after a write, no expiry that is not longer, or over another limit's
-- live override, each hash read and written once.
local real = redis.call
local clock = real('HMGET', 'clock', 's', 'us')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for _, key in ipairs(KEYS) do
  local over = real('HGET', 'expiry', key)
  if real('EXISTS', key) == 0 then
    real('HDEL', 'expiry', key)
  elseif over and now >= over + 0 then
    real('DEL', key)
    real('HDEL', 'expiry', key)
    real('RPUSH', 'expired', key)
  end
end
local reads = {TIME = 1, HMGET = 1, HGETALL = 1, PTTL = 1, GETRANGE = 1}
local written, once = false, {}
local redis = {
  call = function(name, key, ...)
    real('RPUSH', 'trace', name)
    if name == 'TIME' then return clock end
    if not reads[name] then written = true elseif written then error('a read after a write: ' .. name) end
    if name == 'HMGET' or name == 'HSET' then
      if once[name .. key] then error('a second ' .. name) end
      once[name .. key] = true
    end
    if name == 'PTTL' then
      if real('EXISTS', key) == 0 then return -2 end
      local over = real('HGET', 'expiry', key)
      return over and over - now or -1
    elseif name == 'PEXPIRE' then
      local over = real('HGET', 'expiry', key)
      if over and over + 0 >= now + ... then error('an expiry that is not longer') end
      local all = not over and real('TYPE', key).ok == 'hash' and real('HGETALL', key) or {}
      for i = 1, #all, 2 do
        local quota, stop = string.match(all[i + 1] .. ' ', '^(%w+) (%d*) ?$')
        if string.find(all[i], ':override$') and quota and (stop == '' or now < stop + 0) then
          error('an expiry over a live override')
        end
      end
      return real('HSET', 'expiry', key, string.format('%.0f', now + ...))
    elseif name == 'PERSIST' then
      return real('HDEL', 'expiry', key)
    end
    return real(name, key, ...)
  end,
}
