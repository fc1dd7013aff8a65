"""``make bench``: all peers against the same store on the same machine in the same run; medians and ratios.

``python -m bench --quick`` is the short form for CI: it fails on nothing but an error.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import memory, peers, rates
from bench.measure import cpu_seconds, family, peak_mib, reset_peak
from devstack import weed
from tests.proxy import proxied

GIB = 2**30
MIB = 2**20

ON_S3 = [peers.Boto3, peers.Ours, peers.OursRaw, peers.OursLarge, peers.Tus]
ON_FILES = [peers.Copy, peers.OursFiles, peers.TusFiles, peers.Chunked, peers.Tuspy]
NEED_INSTALLING = {peers.Tus, peers.TusFiles, peers.Chunked, peers.Tuspy}
"""Peers that the short form leaves out."""


@dataclass
class Row:
    """Medians of one peer in one setting."""

    setting: str
    peer: str
    mib_per_second: float
    ratio: float
    """To the limit, which is the first row of the setting."""
    cpu_per_gib: float
    peak_mib: float
    calls_per_gib: float | None


def main() -> None:
    options = _options()
    size, repeats = (64 * MIB, 1) if options.quick else (options.size * MIB, options.repeats)
    on_s3 = [kind for kind in ON_S3 if not (options.quick and kind in NEED_INSTALLING)]
    on_files = [kind for kind in ON_FILES if not (options.quick and kind in NEED_INSTALLING)]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as name:
        directory = Path(name)
        for streams in (1, 4):
            rows += measure("S3", on_s3, directory, size, streams, repeats)
        rows += measure("files", on_files, directory, size, 1, repeats)
        rows += measure("payload signing", [peers.Boto3, peers.Boto3Defaults], directory, size, 1, repeats)
        grown = memory.measure(directory, 256 * MIB if options.quick else 4 * GIB)
        created = rates.measure(directory, quick=options.quick)
    report = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "bytes": size,
        "repeats": repeats,
        "uploads": [asdict(row) for row in rows],
        "memory": [asdict(growth) for growth in grown],
        "create_session": [asdict(rate) for rate in created],
    }
    print("\n\n".join(["", table(rows), memory.table(grown), rates.table(created)]))
    out = Path("var/bench.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=1))
    print(f"\nWritten to {out}.")


def measure(
    store: str, kinds: list[type[peers.Peer]], directory: Path, size: int, streams: int, repeats: int
) -> list[Row]:
    """Measure the peers in turn, ``repeats`` times, so that what the machine does besides hits all alike."""
    setting = f"{store}, {streams} stream{'s' * (streams > 1)}"
    speed, cpu, peak = defaultdict(list), defaultdict(list), defaultdict(list)
    with running(kinds, directory) as started:
        for peer in started:
            for _ in range(6):  # every worker once: imports, connections, first-time allocations
                survives(peer, 10 * MIB, 1)
        for repeat in range(repeats):
            for peer in started:
                reset_peak(peer.pid)
                before, start = cpu_seconds(peer.pid), time.perf_counter()
                if not survives(peer, size, streams):
                    continue
                seconds = time.perf_counter() - start
                speed[peer.name].append(size / MIB / seconds)
                cpu[peer.name].append((cpu_seconds(peer.pid) - before) * GIB / size)
                peak[peer.name].append(max(map(peak_mib, family(peer.pid))))
                print(f"{setting}, {repeat + 1}/{repeats}: {peer.name}: {size / MIB / seconds:.0f} MiB/s", flush=True)
    limit = statistics.median(speed[kinds[0].name])
    return [
        Row(
            setting,
            kind.name,
            round(statistics.median(speed[kind.name]), 1),
            round(statistics.median(speed[kind.name]) / limit, 2),
            round(statistics.median(cpu[kind.name]), 2),
            round(statistics.median(peak[kind.name])),
            calls_per_gib(kind, directory) if setting == "S3, 1 stream" else None,
        )
        for kind in kinds
        if speed[kind.name]
    ]


def survives(peer: peers.Peer, size: int, streams: int) -> bool:
    """Upload, and tell whether it worked; another server's failure does not end the run, ours does."""
    try:
        peers.together(peer, size, streams)
    except RuntimeError as error:
        if isinstance(peer, peers.Ours | peers.Boto3):
            raise
        print(f"{peer.name} failed: {error}", flush=True)
        return False
    return True


def calls_per_gib(kind: type[peers.Peer], directory: Path) -> float | None:
    """Count the storage calls of a smaller file, apart from the timed runs: counting costs time."""
    size = 128 * MIB
    with running([kind], directory, counted=True) as (peer,):
        if not survives(peer, size, 1):
            return None
        return sum(peer.calls.values()) * GIB / size  # type: ignore[attr-defined]


@contextmanager
def running(kinds: list[type[peers.Peer]], directory: Path, *, counted: bool = False) -> Iterator[list[peers.Peer]]:
    """Run peers on one store, which is gone afterwards."""
    place = Path(tempfile.mkdtemp(dir=directory))
    store = weed.start(place / "weed")
    started = []
    try:
        with proxied(store.endpoint) as proxy:
            environment = store.environment | ({"AWS_S3_ENDPOINT_URL": proxy.endpoint} if counted else {})
            for kind in kinds:
                (place / kind.__name__).mkdir()
                peer = kind(place / kind.__name__, environment)
                peer.calls = proxy.calls  # type: ignore[attr-defined]
                peer.start()
                started.append(peer)
            yield started
    finally:
        for peer in started:
            peer.stop()
        store.stop()
        shutil.rmtree(place)


def table(rows: list[Row]) -> str:
    lines = [
        "| setting | peer | MiB/s | of the limit | CPU s/GiB | peak MiB | storage calls/GiB |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.setting} | {row.peer} | {row.mib_per_second:.0f} | {row.ratio:.2f} | {row.cpu_per_gib:.2f} "
        f"| {row.peak_mib:.0f} | {'' if row.calls_per_gib is None else f'{row.calls_per_gib:.0f}'} |"
        for row in rows
    ]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--size", type=int, default=1024, help="MiB of each measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--directory", default=None, help="where the stores keep their data meanwhile")
    return parser.parse_args()


if __name__ == "__main__":
    main()
