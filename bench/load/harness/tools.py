"""The load tools: each runs one measurement and returns the same words.

{requests, seconds, errors, latency_us: {mean, p50, p99, p999}, cpu_ns, user_ticks, system_ticks};
a quantile that a tool doesn't tell is left out.
"""

import json
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from . import proc
from .proxies import (
    BACKEND_PORT, H2_BACKEND_PORT, LOAD, LOAD_CPU, PROXY_PORT, Failed, pinned, stop, wait_for_port,
)

EXAMPLES = LOAD.parent.parent / "target" / "release" / "examples"
URL = f"http://127.0.0.1:{PROXY_PORT}"
SECURE_URL = f"https://127.0.0.1:{PROXY_PORT}"


def run(command, seconds):
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: code {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


class Backend:
    """The sleeping backend on the load's core, for tools that bring none."""

    def __enter__(self):
        command = pinned(LOAD_CPU, EXAMPLES / "bench-backend", f"127.0.0.1:{BACKEND_PORT}")
        self.process = subprocess.Popen(command)
        wait_for_port(BACKEND_PORT, self.process, "bench-backend")

    def __exit__(self, *_):
        stop(self.process)


class H2Backend:
    """nghttpd in clear text beside the usual backend, of which nginx asks where it can't speak h2c:
    1 KiB at /1k, and at /bench.Call/Unary the same as a gRPC message."""

    options = ()

    def __enter__(self):
        if not shutil.which("nghttpd"):
            raise Skipped("nghttpd is not installed (Debian's nghttp2-server)")
        self.plain = Backend()
        self.plain.__enter__()
        self.folder = Path(tempfile.mkdtemp(prefix="ringway-bench-h2-"))
        (self.folder / "1k").write_bytes(BODY)
        (self.folder / "bench.Call").mkdir()
        (self.folder / "bench.Call/Unary").write_bytes(grpc_message(BODY))
        command = ["nghttpd", "--no-tls", "--max-concurrent-streams=1000", *self.options]
        command += ["--htdocs", self.folder, "--address=127.0.0.1", H2_BACKEND_PORT]
        self.process = subprocess.Popen(pinned(LOAD_CPU, *command), stdout=subprocess.DEVNULL)
        wait_for_port(H2_BACKEND_PORT, self.process, "nghttpd")

    def __exit__(self, *_):
        stop(self.process)
        self.plain.__exit__()
        shutil.rmtree(self.folder, ignore_errors=True)


class GrpcBackend(H2Backend):
    """The same with a trailer behind every body, as gRPC wants it and others don't."""

    options = ("--trailer=grpc-status: 0",)


BODY = b"x" * 1024


def grpc_message(data):
    """Length-prefixed, not compressed."""
    return b"\0" + len(data).to_bytes(4, "big") + data


def generator_command(pids, seconds, **options):
    command = [EXAMPLES / "bench-generator", "--to", f"127.0.0.1:{PROXY_PORT}"]
    command += ["--serve", f"127.0.0.1:{BACKEND_PORT}", "--seconds", seconds]
    for name, value in options.items():
        command += [f"--{name}"] if value is True else [f"--{name}", value]
    for pid in pids:
        command += ["--pid", pid]
    return pinned(LOAD_CPU, *command)


def generator(pids, seconds, **options):
    """Our own: spins, is its own backend, takes the CPU time at both ends of the window itself."""
    return parse_generator(run(generator_command(pids, seconds, **options), seconds))


def parse_generator(text):
    seen = json.loads(text.splitlines()[-1])
    ticks = seen["cpu_ticks"]
    result = {name: seen[name] for name in ("requests", "seconds", "latency_us")}
    result |= {"errors": sum(seen["errors"].values()), "cpu_ns": seen["cpu_ns"]["total"]}
    return result | {"user_ticks": ticks["user"], "system_ticks": ticks["system"]}


def around(pids, command, seconds, parse, backend=Backend):
    """A foreign tool: CPU time is taken around its whole run, so its own warm-up is in both."""
    with backend():
        time.sleep(0.1)
        before = proc.cpu(pids)
        text = run(command, seconds)
        after = proc.cpu(pids)
    names = ("cpu_ns", "user_ticks", "system_ticks")
    return parse(text) | {name: b - a for name, a, b in zip(names, before, after)}


def wrk(pids, seconds, path="/1k", script="report.lua", connections=64, url=URL, backend=Backend):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", LOAD / "wrk" / script, url + path]
    return around(pids, pinned(LOAD_CPU, *command), seconds, parse_wrk, backend)


def secure_wrk(pids, seconds, **options):
    """The same over TLS 1.3, AES-256-GCM and X25519, which is what OpenSSL's client asks everybody for."""
    return wrk(pids, seconds, url=SECURE_URL, **options)


def parse_wrk(text):
    line = next((line for line in text.splitlines() if line.startswith("wrk-json ")), None)
    if line is None:
        raise Failed(f"wrk printed no result:\n{text[-2000:]}")
    seen = json.loads(line.removeprefix("wrk-json "))
    return seen | {"errors": sum(seen["errors"].values())}


def h2load(pids, seconds, path="/1k"):
    # No warm-up here: its requests would be in the CPU time and not in the count.
    command = ["h2load", "--h1", "--threads=1", "--clients=64", f"--duration={seconds}", URL + path]
    return around(pids, pinned(LOAD_CPU, *command), seconds, parse_h2load)


def h2(pids, seconds, path="/1k", backend=Backend, options=()):
    """HTTP/2 over TLS, 32 connections with 16 requests at a time each."""
    command = ["h2load", "--threads=1", "--clients=32", "--max-concurrent-streams=16", f"--duration={seconds}"]
    return around(pids, pinned(LOAD_CPU, *command, *options, SECURE_URL + path), seconds, parse_h2load, backend)


def grpc(pids, seconds):
    """Unary calls, 1 KiB each way."""
    with tempfile.NamedTemporaryFile() as message:
        message.write(grpc_message(BODY))
        message.flush()
        options = [f"--data={message.name}", "--header=content-type: application/grpc", "--header=te: trailers"]
        return h2(pids, seconds, path="/bench.Call/Unary", backend=GrpcBackend, options=options)


def datagrams(pids, seconds):
    """Our own: 64 sockets, two datagrams of 512 bytes under way on each; spins, and is the echo, too.
    What is counted is datagrams that the proxy has passed on, in either direction."""
    command = [EXAMPLES / "bench-datagrams", "--to", f"127.0.0.1:{PROXY_PORT}"]
    command += ["--serve", f"127.0.0.1:{BACKEND_PORT}", "--seconds", seconds]
    for pid in pids:
        command += ["--pid", pid]
    return parse_generator(run(pinned(LOAD_CPU, *command), seconds))


UNITS_US = {"us": 1, "ms": 1e3, "s": 1e6}


def parse_h2load(text):
    finished = re.search(r"finished in ([\d.]+)(us|ms|s),", text)
    counts = re.search(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed", text)
    mean = re.search(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)", text)
    if not (finished and counts and mean):
        raise Failed(f"h2load printed no result:\n{text[-2000:]}")
    latency = {"mean": float(mean.group(1)) * UNITS_US[mean.group(2)]}
    seconds = float(finished.group(1)) * UNITS_US[finished.group(2)] / 1e6
    return {"requests": int(counts.group(2)), "seconds": seconds, "errors": int(counts.group(3)), "latency_us": latency}


def oha(pids, seconds, path="/1k"):
    if not shutil.which("oha"):
        raise Skipped("oha is not installed (cargo install oha --locked)")
    command = ["oha", "--no-tui", "--output-format", "json", "-c", "64", "-z", f"{seconds}s", "-w", URL + path]
    return around(pids, pinned(LOAD_CPU, *command), seconds, parse_oha)


def parse_oha(text):
    seen = json.loads(text)
    statuses = seen["statusCodeDistribution"]
    good = statuses.get("200", 0)
    errors = sum(statuses.values()) - good + sum(seen["errorDistribution"].values())
    quantiles = seen["latencyPercentiles"]
    latency = {"mean": seen["summary"]["average"] * 1e6}
    for name, key in (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p999", "p99.9")):
        if quantiles.get(key) is not None:
            latency[name] = quantiles[key] * 1e6
    return {"requests": good, "seconds": seen["summary"]["total"], "errors": errors, "latency_us": latency}


class Skipped(Exception):
    """A scenario can't run here; the text says why."""


def idle(pids, count):
    """Bytes of the proxy's own memory for each of `count` idle kept-alive connections."""
    generator(pids, 1)
    before = proc.pss(pids)
    command = generator_command([], 1, idle=count)
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        line = holder.stdout.readline()
        if not line:
            raise Failed(f"the generator couldn't open {count} connections")
        time.sleep(1)
        after = proc.pss(pids)
    finally:
        holder.stdin.close()
        holder.wait(30)
    return {"connections": json.loads(line)["open"], "bytes": after - before}
