-- POST with a body of 1 KiB.
--   wrk -t1 -c64 -d5s -s bench/load/wrk/post.lua http://127.0.0.1:8080/1k
dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "report.lua")
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.body = string.rep("x", 1024)
