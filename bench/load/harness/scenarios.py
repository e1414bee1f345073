"""The scenarios: what each sends, and which ratio Ringway promises for it."""

from dataclasses import dataclass, field

from . import events, tools

RIVALS = ("nginx", "haproxy")


@dataclass(frozen=True)
class Scenario:
    name: str
    what: str
    run: object  # (pids, seconds) -> result of tools.py
    cpu_max: dict = field(default_factory=dict)  # rival -> most CPU a request may cost, as a ratio to it
    ours: str | None = None  # another config for Ringway; the rivals are left out
    user_us_max: float | None = None
    tls: bool = False


SCENARIOS = [
    Scenario(
        "plain", "1 KiB, 64 kept-alive connections, wrk and a sleeping backend on the other core",
        tools.wrk, {"nginx": 0.85, "haproxy": 0.78},
    ),
    Scenario(
        "saturate", "1 KiB, 64 kept-alive connections, spinning generator: the proxy's core is never idle",
        tools.generator, {"nginx": 0.75, "haproxy": 0.65}, user_us_max=1.0,
    ),
    Scenario(
        "filters", "as saturate, with request ids, rate limit, header edits, three routes and metrics on",
        tools.generator, ours="ringway/filters.toml", user_us_max=1.0,
    ),
    Scenario(
        "body64k", "64 KiB bodies, 64 connections, spinning generator",
        lambda pids, seconds: tools.generator(pids, seconds, path="/64k"), {"nginx": 0.8},
    ),
    Scenario(
        "body1m", "1 MiB bodies, 64 connections, spinning generator",
        lambda pids, seconds: tools.generator(pids, seconds, path="/1m"), {"nginx": 0.6},
    ),
    Scenario(
        "churn", "1 KiB, a new connection for each request, 64 at a time, spinning generator",
        lambda pids, seconds: tools.generator(pids, seconds, fresh=True), {"nginx": 0.85},
    ),
    Scenario("browser", "1 KiB, the 14 fields that a browser sends, wrk",
             lambda pids, seconds: tools.wrk(pids, seconds, script="browser.lua")),
    Scenario("post", "POST of 1 KiB, 1 KiB back, wrk",
             lambda pids, seconds: tools.wrk(pids, seconds, script="post.lua")),
    Scenario("mixed", "1 KiB, 64 KiB and 1 MiB mixed 16:3:1, wrk",
             lambda pids, seconds: tools.wrk(pids, seconds, path="", script="mixed.lua")),
    Scenario("tls", "1 KiB over TLS 1.3, 64 kept-alive connections, wrk",
             tools.secure_wrk, {"nginx": 0.75}, tls=True),
    Scenario("tls64k", "64 KiB bodies over TLS 1.3, 16 kept-alive connections, wrk",
             lambda pids, seconds: tools.secure_wrk(pids, seconds, path="/64k", connections=16), tls=True),
    Scenario("tls1m", "1 MiB bodies over TLS 1.3, 16 kept-alive connections, wrk",
             lambda pids, seconds: tools.secure_wrk(pids, seconds, path="/1m", connections=16),
             {"nginx": 0.7}, tls=True),
    Scenario("tlschurn", "1 KiB, a full TLS 1.3 handshake for each request, 64 at a time, wrk",
             lambda pids, seconds: tools.secure_wrk(pids, seconds, script="churn.lua"), {"nginx": 0.9}, tls=True),
    Scenario("h2load", "1 KiB, 64 kept-alive connections, h2load over HTTP/1.1", tools.h2load),
    Scenario("oha", "1 KiB, 64 kept-alive connections, oha", tools.oha),
]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}

# Two that don't measure CPU per request.
RATE, IDLE = "rate", "idle"
RATE_SHARE = 0.4  # of nginx's own maximum in the same run
IDLE_CONNECTIONS = 8000
IDLE_BYTES_MAX = 1024
ALL = [scenario.name for scenario in SCENARIOS] + [RATE, IDLE, *events.EVENTS]
WHAT = {scenario.name: scenario.what for scenario in SCENARIOS} | {
    RATE: "fixed rate of 40 % of nginx's maximum, 64 connections, latency from when a request was due",
    IDLE: "user memory of an idle kept-alive connection, of 8,000 (proportional set size)",
} | {name: event.__doc__.strip().rstrip(".").lower() for name, event in events.EVENTS.items()}
