-- A mix of sizes on one connection: of 20 requests 16 are for 1 KiB, 3 for 64 KiB, one for 1 MiB.
--   wrk -t1 -c64 -d5s -s bench/load/wrk/mixed.lua http://127.0.0.1:8080
dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "report.lua")
local count = 0
function request()
  count = count + 1
  local slot = count % 20
  local path = slot == 0 and "/1m" or slot % 5 == 0 and "/64k" or "/1k"
  return wrk.format("GET", path)
end
