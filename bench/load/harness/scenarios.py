"""The scenarios: what each sends, and which ratio Ringway promises for it."""

from dataclasses import dataclass, field

from . import events, idle_secure, tools

RIVALS = ("nginx", "haproxy")


@dataclass(frozen=True)
class Scenario:
    name: str
    what: str
    run: object  # (pids, seconds) -> result of tools.py
    cpu_max: dict = field(default_factory=dict)  # rival -> most CPU a request may cost, as a ratio to it
    ours: str | None = None  # another config for Ringway; the rivals are left out
    user_us_max: float | None = None
    config: str = "http"  # which of a proxy's own configs
    speaks: tuple = ()  # beyond HTTP/1.1 in the clear: "tls", "h2", "h2c", "grpc"
    without: tuple = ()  # rivals that can't take part
    own_max: dict = field(default_factory=dict)  # other scenario -> most CPU as a ratio to our own there


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
             tools.secure_wrk, {"nginx": 0.75}, speaks=("tls",)),
    Scenario("tls64k", "64 KiB bodies over TLS 1.3, 16 kept-alive connections, wrk",
             lambda pids, seconds: tools.secure_wrk(pids, seconds, path="/64k", connections=16), speaks=("tls",)),
    Scenario("tls1m", "1 MiB bodies over TLS 1.3, 16 kept-alive connections, wrk",
             lambda pids, seconds: tools.secure_wrk(pids, seconds, path="/1m", connections=16),
             {"nginx": 0.7}, speaks=("tls",)),
    Scenario("tlschurn", "1 KiB, a full TLS 1.3 handshake for each request, 64 at a time, wrk",
             lambda pids, seconds: tools.secure_wrk(pids, seconds, script="churn.lua"), {"nginx": 0.9}, speaks=("tls",)),
    Scenario("h2", "1 KiB, HTTP/2 over TLS, 32 connections of 16 streams, h2load; the endpoint speaks HTTP/1.1",
             tools.h2, {"nginx": 0.55, "haproxy": 0.9}, speaks=("h2",)),
    Scenario("h2h2c", "as h2, but the endpoint speaks HTTP/2 in the clear (nghttpd); nginx can't: HTTP/1.1",
             lambda pids, seconds: tools.h2(pids, seconds, backend=tools.H2Backend), {"haproxy": 0.5}, speaks=("h2", "h2c")),
    Scenario("h1h2c", "plain, but the endpoint speaks HTTP/2 in the clear (nghttpd); nginx can't: HTTP/1.1",
             lambda pids, seconds: tools.wrk(pids, seconds, backend=tools.H2Backend), {"nginx": 0.65}, speaks=("h2c",),
             own_max={"plain": 0.9}),
    Scenario("grpc", "unary calls, 1 KiB each way, HTTP/2 over TLS, 32 connections of 16 streams, h2load; nghttpd answers",
             tools.grpc, speaks=("h2", "grpc")),
    Scenario("tcp", "relayed as TCP: 1 KiB to and fro, 64 connections, spinning generator",
             tools.generator, {"nginx": 0.95, "haproxy": 0.85}, config="l4"),
    Scenario("tcp64k", "relayed as TCP: 64 KiB, 64 connections, spinning generator",
             lambda pids, seconds: tools.generator(pids, seconds, path="/64k"), {"nginx": 0.85}, config="l4"),
    Scenario("tcp1m", "relayed as TCP: 1 MiB, 64 connections, spinning generator",
             lambda pids, seconds: tools.generator(pids, seconds, path="/1m"), {"nginx": 0.6}, config="l4"),
    Scenario("tcpchurn", "relayed as TCP: 1 KiB, a new connection for each, 64 at a time, spinning generator",
             lambda pids, seconds: tools.generator(pids, seconds, fresh=True), config="l4"),
    Scenario("udp", "datagrams of 512 bytes, 64 flows with two under way each, spinning generator and echo",
             tools.datagrams, {"nginx": 0.5}, config="l4", without=("haproxy",)),
    Scenario("h2load", "1 KiB, 64 kept-alive connections, h2load over HTTP/1.1", tools.h2load),
    Scenario("oha", "1 KiB, 64 kept-alive connections, oha", tools.oha),
]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}

# Some that don't measure CPU per request.
RATE = "rate"
RATE_SHARE = 0.4  # of nginx's own maximum in the same run


@dataclass(frozen=True)
class Idle:
    """User memory (proportional set size) of a connection that has had one response and waits."""

    what: str
    run: object  # (pids, connections) -> {connections, bytes}
    connections: int
    speaks: tuple = ()
    bytes_max: int | None = None
    no_more_than: tuple = ()  # rivals


IDLES = {
    "idle": Idle("user memory of an idle kept-alive connection, of 8,000", tools.idle, 8000, bytes_max=1024),
    "idletls": Idle(
        "user memory of an idle connection over TLS 1.3, of 2,000",
        lambda pids, count: idle_secure.measure(pids, count, "http/1.1"), 2000, ("tls",), no_more_than=RIVALS,
    ),
    "idleh2": Idle(
        "user memory of an idle HTTP/2 connection over TLS 1.3, of 2,000",
        lambda pids, count: idle_secure.measure(pids, count, "h2"), 2000, ("h2",),
    ),
}
ALL = [scenario.name for scenario in SCENARIOS] + [RATE, *IDLES, *events.EVENTS]
WHAT = {scenario.name: scenario.what for scenario in SCENARIOS} | {
    RATE: "fixed rate of 40 % of nginx's maximum, 64 connections, latency from when a request was due",
} | {name: idle.what for name, idle in IDLES.items()} | {
    name: event.__doc__.strip().rstrip(".").lower() for name, event in events.EVENTS.items()
}
