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
H2_BACKEND_PORT = 19010
BACKEND_PORTS = (19001, 19002, 19003)
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

    def __init__(self, name, configs, command, words):
        self.name, self.configs, self.command, self.words = name, configs, command, words

    def running(self, config="http", speaks=(), **values):
        """`config`: one of its own by name, or a file; `speaks`: which of its words go between the @ of
        that file, beside `values`. What a proxy has no words for, it doesn't speak."""
        words = {}
        for what in ("", *speaks):
            words |= self.words.get(what, {})
        return Running(self, self.configs.get(config, config), words | values)


class Running:
    """One start of a proxy, with a folder of its own, to be used in `with`: gives its processes."""

    def __init__(self, proxy, config, values):
        self.proxy, self.source = proxy, LOAD / config
        self.folder = Path(tempfile.mkdtemp(prefix="ringway-bench-"))
        self.config = self.folder / self.source.name
        self.values = {"RUN": self.folder, "PROXY": PROXY_PORT, "BACKEND": BACKEND_PORT, "METRICS": METRICS_PORT}
        self.values |= {f"BACKEND{number + 1}": port for number, port in enumerate(BACKEND_PORTS)}
        self.values |= {"DRIVER": "epoll" if proxy.name.endswith("-epoll") else "io_uring", "SHARDS": "0"} | values

    def write(self, **values):
        """Writes the config, `values` changed: whole or not at all, as an editor does."""
        self.values |= values
        text = self.source.read_text()
        # Twice: words may hold words.
        for name, value in [*self.values.items()] * 2:
            text = text.replace(f"@{name}@", str(value))
        fresh = self.config.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.config)

    def make_certificate(self):
        """One for all rivals of a run would do, but a folder of its own is simpler: ECDSA P-256."""
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "30"]
        subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
        (self.folder / "both.pem").write_text(cert.read_text() + key.read_text())

    def __enter__(self):
        self.make_certificate()
        self.write()
        self.log = open(self.folder / "output", "w+")
        command = [str(self.config) if part == "@CONFIG@" else part for part in self.proxy.command]
        cpus = PROXY_CPU if self.values["SHARDS"] == "0" else f"{PROXY_CPU},{LOAD_CPU}"
        self.process = subprocess.Popen(pinned(cpus, *command), stdout=self.log, stderr=self.log)
        try:
            wait_for_port(PROXY_PORT, self.process, self.proxy.name)
        except Failed as failed:
            words = self.last_words()
            self.__exit__()
            raise Failed(f"{failed}\n{words}") from None
        # nginx listens before its worker is there.
        time.sleep(0.2)
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
        "ringway": Proxy("ringway", OUR_CONFIGS, ours, OUR_WORDS),
        "ringway-epoll": Proxy("ringway-epoll", OUR_CONFIGS, ours, OUR_WORDS),
        "nginx": Proxy("nginx", NGINX_CONFIGS, ["nginx", "-c", "@CONFIG@"], NGINX_WORDS),
        "haproxy": Proxy("haproxy", HAPROXY_CONFIGS, ["haproxy", "-db", "-f", "@CONFIG@"], HAPROXY_WORDS),
    }


# What each proxy says where a config leaves room: "" always, "tls" and "h2" (over TLS) for the clients'
# side, "h2c" and "grpc" for the endpoint's. nginx speaks HTTP/2 to an endpoint for gRPC only.
OUR_CONFIGS = {"http": "ringway/plain.toml", "l4": "ringway/l4.toml"}
OUR_TLS = 'protocol = "https"\ntls.certificates = [{ cert = "@RUN@/cert.pem", key = "@RUN@/key.pem" }]'
OUR_H2 = {"UPSTREAM": 'protocol = "h2"', "BACKEND": H2_BACKEND_PORT}
OUR_WORDS = {
    "": {"LISTEN": "", "UPSTREAM": ""},
    "tls": {"LISTEN": OUR_TLS},
    "h2": {"LISTEN": OUR_TLS + '\nalpn = ["h2", "http/1.1"]'},
    "h2c": OUR_H2,
    "grpc": OUR_H2,
}
NGINX_CONFIGS = {"http": "nginx/nginx.conf", "l4": "nginx/stream.conf"}
NGINX_WORDS = {
    "": {"LISTEN": "", "PASS": "proxy_pass http://main"},
    "tls": {"LISTEN": "ssl"},
    "h2": {"LISTEN": "ssl http2"},
    "grpc": {"PASS": "grpc_pass grpc://main", "BACKEND": H2_BACKEND_PORT},
}
HAPROXY_CONFIGS = {"http": "haproxy/haproxy.cfg", "l4": "haproxy/l4.cfg"}
HAPROXY_H2 = {"SERVER": "proto h2", "BACKEND": H2_BACKEND_PORT}
HAPROXY_WORDS = {
    "": {"LISTEN": "", "SERVER": ""},
    "tls": {"LISTEN": "ssl crt @RUN@/both.pem"},
    "h2": {"LISTEN": "ssl crt @RUN@/both.pem alpn h2,http/1.1"},
    "h2c": HAPROXY_H2,
    "grpc": HAPROXY_H2,
}
