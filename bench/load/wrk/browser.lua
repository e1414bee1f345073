-- The head that a browser sends: 14 fields, 1 KiB of cookies among them. What parsing costs.
--   wrk -t1 -c64 -d5s -s bench/load/wrk/browser.lua http://127.0.0.1:8080/1k
dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "report.lua")
local fields = {
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
  ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  ["Accept-Language"] = "en-US,en;q=0.9,de;q=0.8", ["Accept-Encoding"] = "gzip, deflate, br, zstd",
  ["Cache-Control"] = "max-age=0", ["Referer"] = "https://www.example.com/catalogue/items?page=3&order=price",
  ["Sec-Ch-Ua-Mobile"] = "?0", ["Sec-Ch-Ua-Platform"] = '"Linux"', ["Sec-Fetch-Dest"] = "document",
  ["Sec-Fetch-Mode"] = "navigate", ["Sec-Fetch-Site"] = "same-origin", ["Upgrade-Insecure-Requests"] = "1",
  ["Priority"] = "u=0, i", ["Cookie"] = "session=" .. string.rep("0123456789abcdef", 60),
}
for name, value in pairs(fields) do wrk.headers[name] = value end
