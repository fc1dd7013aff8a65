"""How much a server process grows for one upload: the same for small chunks and for one of the whole file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench import peers
from bench.measure import family, peak_mib, reset_peak, resident_mib
from devstack import weed

MIB = 2**20


@dataclass
class Growth:
    name: str
    mib: float


def measure(directory: Path, size: int) -> list[Growth]:
    place = directory / "memory"
    place.mkdir()
    store = weed.start(place / "weed")
    try:
        return [_growth(kind(place, dict(store.environment)), size) for kind in (peers.OursRaw, peers.OursWhole)]
    finally:
        store.stop()


def _growth(peer: peers.Ours, size: int) -> Growth:
    """Return how far the process that served the upload rose above what it held before."""
    peer.start()
    try:
        for _ in range(4):  # every worker, with files of no memory to speak of: imports, connections
            peers.together(peer, 12, streams=12)
        before = {pid: resident_mib(pid) for pid in family(peer.pid)}
        reset_peak(peer.pid)
        peer.upload(size)
        growth = max(peak_mib(pid) - resident for pid, resident in before.items())
    finally:
        peer.stop()
    return Growth(f"{peer.name}, {size // MIB:,} MiB", round(growth, 1))


def table(grown: list[Growth]) -> str:
    lines = ["| | the process grows by MiB |", "|---|---:|"]
    return "\n".join([*lines, *(f"| {growth.name} | {growth.mib:.1f} |" for growth in grown)])
