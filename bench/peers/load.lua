-- Sends the same request with 64 tokens in turn, from the file named by TOKENS, or without any; fails loudly.
local requests, turn = {}, 0

function init(args)
  local host, target = os.getenv("HOST_HEADER"), os.getenv("TARGET") or "/1k"
  if os.getenv("ANONYMOUS") then
    requests[1] = wrk.format("GET", target, { ["Host"] = host })
    return
  end
  for token in io.lines(os.getenv("TOKENS")) do
    requests[#requests + 1] = wrk.format("GET", target, {
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
