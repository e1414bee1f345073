"""What /proc says of other processes: CPU time of all their threads, memory that is theirs."""

import os
from pathlib import Path

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def family(pid):
    """`pid` and all its descendants: nginx's work is done by a child."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*"):
            try:
                found += [int(child) for child in (task / "children").read_text().split()]
            except OSError:
                pass
    return found


def cpu(pids):
    """(nanoseconds on a CPU, user ticks, system ticks) so far, summed over the threads of `pids`.

    The first is exact; the ticks are sampled by the kernel, so only their ratio is worth anything.
    io_uring's workers are threads of the process, so they count.
    """
    total = user = system = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            try:
                total += int((task / "schedstat").read_text().split()[0])
                fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
                user += int(fields[11])
                system += int(fields[12])
            except (OSError, IndexError):
                pass
    return total, user, system


def pss(pids):
    """Bytes of memory that are these processes' own share (proportional set size)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total
