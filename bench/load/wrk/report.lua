-- Prints what wrk measured as one line of JSON that starts with "wrk-json ". The other scripts of
-- this folder load it; by itself it makes wrk's plain GET.
--   wrk -t1 -c64 -d5s -s bench/load/wrk/report.lua http://127.0.0.1:8080/1k
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'wrk-json {"requests":%d,"seconds":%.6f,"bytes":%d,"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d},' ..
    '"latency_us":{"mean":%.1f,"p50":%.1f,"p90":%.1f,"p99":%.1f,"p999":%.1f,"max":%.1f}}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, e.connect, e.read, e.write, e.status, e.timeout,
    latency.mean, latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9),
    latency.max))
end
