"""CPU and memory of a server process and its children, from /proc."""

from __future__ import annotations

import os
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in family(int(child)))]


def cpu_seconds(pid: int) -> float:
    """Return user and system time of the process family; exclude children of this process."""
    if pid == os.getpid():
        return time.process_time()
    total = 0
    for member in family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def reset_peak(pid: int) -> None:
    """Reset the memory peaks of the process family."""
    for member in family(pid):
        Path(f"/proc/{member}/clear_refs").write_text("5")


def resident_mib(pid: int) -> float:
    """Return the current memory of one process, in MiB."""
    return _status(pid, "VmRSS")


def peak_mib(pid: int) -> float:
    """Return the peak memory of one process since ``reset_peak``, in MiB."""
    return _status(pid, "VmHWM")


def _status(pid: int, name: str) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().split(f"{name}:")[1].split()[0]) / 1024
