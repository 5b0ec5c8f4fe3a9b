-- Sends the same request with 64 tokens in turn, from the file named by TOKENS; fails loudly.
local requests, turn = {}, 0

function init(args)
  local host = os.getenv("HOST_HEADER")
  for token in io.lines(os.getenv("TOKENS")) do
    requests[#requests + 1] = wrk.format("GET", "/1k", {
      ["Host"] = host, ["Authorization"] = "Bearer " .. token })
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format("FIGURES requests=%d errors=%d p50=%.1f p99=%.1f us=%d\n",
    summary.requests, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99), summary.duration))
end
