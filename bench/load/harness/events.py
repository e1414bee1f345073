"""What happens under load and must not be felt: reloads, a killed endpoint, few connections on two shards.

Each returns {measured: text, holds: bool}. The load is the spinning generator, so every response is
checked to the last byte; one failed request breaks the promise.
"""

import http.client
import json
import signal
import subprocess
import time

from . import tools
from .proxies import BACKEND_PORTS, LOAD_CPU, METRICS_PORT, PROXY_PORT, Failed, pinned, stop, wait_for_port

CONFIG = "ringway/three.toml"
RELOADS = 100
REUSE_MIN = 0.99


class Backends:
    """Three backends, each a process that may be killed."""

    def __enter__(self):
        self.processes = []
        for port in BACKEND_PORTS:
            process = subprocess.Popen(pinned(LOAD_CPU, tools.EXAMPLES / "bench-backend", f"127.0.0.1:{port}"))
            self.processes.append(process)
            wait_for_port(port, process, "bench-backend")
        return self.processes

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                stop(process)


class Load:
    """The generator in the background; `finish` waits for it and tells what it saw."""

    def __init__(self, seconds, connections=64):
        command = [tools.EXAMPLES / "bench-generator", "--to", f"127.0.0.1:{PROXY_PORT}", "--warmup", "0.5"]
        command += ["--seconds", seconds, "--connections", connections]
        self.seconds = seconds
        self.process = subprocess.Popen(pinned(LOAD_CPU, *command), stdout=subprocess.PIPE, text=True)

    def is_running(self):
        return self.process.poll() is None

    def finish(self):
        out, _ = self.process.communicate(timeout=self.seconds + 30)
        if self.process.returncode != 0:
            raise Failed("the generator failed")
        return json.loads(out.splitlines()[-1])


def failed(seen):
    return sum(seen["errors"].values())


def version():
    """Which version of the config answers."""
    connection = http.client.HTTPConnection("127.0.0.1", PROXY_PORT, timeout=5)
    connection.request("GET", "/1k")
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.getheader("x-version")


def reloads(proxy, count=RELOADS):
    """100 reloads under load, each seen to have taken effect."""
    running = proxy.running(CONFIG, VERSION=0)
    with Backends(), running:
        load = Load(max(2, count * 0.1))
        applied = 0
        while applied < count and load.is_running():
            running.write(VERSION=applied + 1)
            running.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 5
            while version() != str(applied + 1):
                if time.monotonic() > deadline:
                    raise Failed(f"reload {applied + 1} has no effect after 5 s\n{running.last_words()}")
                time.sleep(0.01)
            applied += 1
        seen = load.finish()
    text = f"{applied} reloads under {seen['requests']} requests: {failed(seen)} failed"
    return {"measured": text, "holds": failed(seen) == 0 and applied == count and seen["requests"] > 0}


def kill(proxy):
    """kill -9 of one of three endpoints under load."""
    with Backends() as backends, proxy.running(CONFIG, VERSION=0):
        load = Load(4)
        time.sleep(2)
        backends[1].kill()
        seen = load.finish()
    text = f"{seen['requests']} GET requests, one of three endpoints killed: {failed(seen)} failed"
    return {"measured": text, "holds": failed(seen) == 0 and seen["requests"] > 0}


def reuse(proxy):
    """Two shards, eight connections: how many upstream connections the requests cost, after warm-up."""
    with Backends(), proxy.running(CONFIG, VERSION=0, SHARDS="0-1"):
        load = Load(3, connections=8)
        time.sleep(1)
        before = upstream_connects()
        seen = load.finish()
        opened = upstream_connects() - before
    ratio = 1 - opened / max(1, seen["requests"])
    text = f"two shards, 8 connections: {opened} new upstream connections for {seen['requests']} requests, {ratio:.2%}"
    return {"measured": text, "holds": ratio >= REUSE_MIN and failed(seen) == 0}


def upstream_connects():
    """Connections to the backends that Ringway has opened, by its own count."""
    connection = http.client.HTTPConnection("127.0.0.1", METRICS_PORT, timeout=5)
    connection.request("GET", "/metrics")
    return sum_of(connection.getresponse().read().decode(), "ringway_endpoint_connections_opened_total")


def sum_of(text, name):
    """The sum over the samples of one metric."""
    lines = [line for line in text.splitlines() if line.startswith((name + "{", name + " "))]
    if not lines:
        raise Failed(f"no metric {name}")
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


EVENTS = {"reloads": reloads, "kill": kill, "reuse": reuse}
