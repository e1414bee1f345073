"""The programs under load: how each is started on its core with the config of this folder, and ended."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from . import proc

LOAD = Path(__file__).resolve().parent.parent
PROXY_PORT, BACKEND_PORT, METRICS_PORT = 18080, 19000, 18081
PROXY_CPU, LOAD_CPU = 0, 1


class Failed(Exception):
    """A program didn't do what the bench needs; the text says which and shows its last words."""


def pinned(cpu, *command):
    return ["taskset", "-c", str(cpu), *map(str, command)]


def wait_for_port(port, process, what, seconds=10):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed(f"{what} ended with code {process.returncode}")
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise Failed(f"{what} doesn't listen on port {port} after {seconds} s")


def stop(process):
    """SIGTERM, then SIGKILL for whatever of its family is left after five seconds."""
    left = proc.family(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        process.wait()


class Proxy:
    """A rival or ourselves: `with proxy.running() as pids: …`."""

    def __init__(self, name, config, command):
        self.name, self.config, self.command = name, config, command

    def running(self, config=None):
        return Running(self, config or self.config)


class Running:
    def __init__(self, proxy, config):
        self.proxy, self.source = proxy, LOAD / config

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="ringway-bench-"))
        text = self.source.read_text()
        values = {"RUN": self.folder, "PROXY": PROXY_PORT, "BACKEND": BACKEND_PORT, "METRICS": METRICS_PORT}
        values["DRIVER"] = "epoll" if self.proxy.name.endswith("-epoll") else "io_uring"
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        config = self.folder / self.source.name
        config.write_text(text)
        self.log = open(self.folder / "output", "w+")
        command = [str(config) if part == "@CONFIG@" else part for part in self.proxy.command]
        self.process = subprocess.Popen(pinned(PROXY_CPU, *command), stdout=self.log, stderr=self.log)
        try:
            wait_for_port(PROXY_PORT, self.process, self.proxy.name)
        except Failed as failed:
            words = self.last_words()
            self.__exit__()
            raise Failed(f"{failed}\n{words}") from None
        return proc.family(self.process.pid)

    def last_words(self):
        logs = [self.folder / "output", self.folder / "error.log"]
        return "\n".join(log.read_text()[-2000:] for log in logs if log.exists()).strip()

    def __exit__(self, *_):
        if self.process.poll() is None:
            stop(self.process)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def proxies(ringway):
    ours = [str(ringway), "run", "-c", "@CONFIG@"]
    return {
        "ringway": Proxy("ringway", "ringway/plain.toml", ours),
        "ringway-epoll": Proxy("ringway-epoll", "ringway/plain.toml", ours),
        "nginx": Proxy("nginx", "nginx/nginx.conf", ["nginx", "-c", "@CONFIG@"]),
        "haproxy": Proxy("haproxy", "haproxy/haproxy.cfg", ["haproxy", "-db", "-f", "@CONFIG@"]),
    }
