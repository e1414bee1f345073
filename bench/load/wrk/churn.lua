-- A new connection for each request: the response closes it.
--   wrk -t1 -c64 -d5s -s bench/load/wrk/churn.lua http://127.0.0.1:8080/1k
dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "report.lua")
wrk.headers["Connection"] = "close"
