-- Sends the files named after "--", each one whole HTTP request, in turn; reports one JSON line.
local requests = {}
local at = 0

function init(files)
   for i, name in ipairs(files) do
      local file = assert(io.open(name, "rb"))
      requests[i] = file:read("*a")
      file:close()
   end
end

function request()
   at = at % #requests + 1
   return requests[at]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      'RESULT {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "bytes": %d, ' ..
      '"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      summary.bytes, errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
