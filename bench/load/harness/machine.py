"""Describes where numbers come from: CPU, kernel, versions. Never the machine's name."""

import os
import platform
import re
import subprocess
from pathlib import Path


def _output(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).strip()


def _version(pattern, *command):
    found = re.search(pattern, _output(*command))
    return found.group(1) if found else None


def machine():
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.*)", text)
    sysctl = lambda name: (Path("/proc/sys") / name).read_text().strip()
    return {
        "cpu": model.group(1).strip() if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": re.match(r"[\d.]+", platform.release()).group(0),
        "virtual": " hypervisor" in text,
        "congestion_control": os.environ.get("BENCH_TCP") or sysctl("net/ipv4/tcp_congestion_control"),
        "own_namespace": os.environ.get("BENCH_NAMESPACE") == "1",
    }


def versions(ringway):
    commit = _output("git", "rev-parse", "--short", "HEAD")
    if _output("git", "status", "--porcelain", "--untracked-files=no"):
        commit += " with changes"
    return {
        "ringway": _version(r"ringway (\S+)", str(ringway), "--version"),
        "commit": commit,
        "nginx": _version(r"nginx/(\S+)", "nginx", "-v"),
        "haproxy": _version(r"version (\S+)", "haproxy", "-v"),
        "wrk": _version(r"wrk \S*/?(\d\S*)", "wrk", "-v"),
        "h2load": _version(r"nghttp2/(\S+)", "h2load", "--version"),
        "oha": _version(r"oha (\S+)", "oha", "--version"),
        "rustc": _version(r"rustc (\S+)", "rustc", "--version"),
    }
