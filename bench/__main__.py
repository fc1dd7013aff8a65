"""Measure all peers with the same store, on the same machine, in one run.

``make bench`` prints medians and ratios. ``python -m bench --quick`` is the short form for CI; only errors fail it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import memory, pages, peers, rates, scale, written
from bench.measure import cpu_seconds, family, peak_mib, reset_peak
from devstack import weed
from tests.proxy import proxied

GIB = 2**30
MIB = 2**20

ON_S3 = [peers.Boto3, peers.Ours, peers.OursHalves, peers.OursRaw, peers.OursLarge, peers.Tus]
ONE_PATCH = [peers.Boto3, peers.OursTus, peers.TusOnce]
ONE_PATCH_ON_FILES = [peers.Copy, peers.OursTusFiles, peers.TusFilesOnce, peers.TuspyOnce]
FAR = [
    peers.Boto3,
    peers.Boto3Managed,
    peers.Ours,
    peers.OursHalves,
    peers.OursLarge,
    peers.OursManyParts,
    peers.OursWholeManyParts,
    peers.OursDirect,
]
DIRECT = [peers.Boto3Managed, peers.OursWholeManyParts, peers.OursDirect]
ON_FILES = [peers.Copy, peers.OursFiles, peers.TusFiles, peers.Chunked, peers.Tuspy]
NEED_INSTALLING = {
    peers.Tus,
    peers.TusFiles,
    peers.Chunked,
    peers.Tuspy,
    peers.TusOnce,
    peers.TusFilesOnce,
    peers.TuspyOnce,
}
PARTS = ("near", "far", "direct", "tus", "signing", "memory", "slow", "written", "rates", "scale", "pages")
"""Choices of ``--only``."""
IN_SHORT = ("near", "far", "slow", "written", "rates", "scale", "pages")
"""Measurements of the short form."""


@dataclass
class Row:
    """Medians of one peer in one setting."""

    setting: str
    peer: str
    mib_per_second: float
    ratio: float
    """Speed relative to the limit, the first row of the setting."""
    cpu_per_gib: float
    peak_mib: float
    calls_per_gib: float | None


def main() -> None:
    options = _options()
    size, repeats = (64 * MIB, 1) if options.quick else (options.size * MIB, options.repeats)
    rows: list[Row] = []
    grown: list[memory.Growth] = []
    sent: list[written.Written] = []
    created: list[rates.Rate] = []
    scaled: list[scale.Scale] = []
    looked: list[pages.Pages] = []

    def wanted(kinds: list[type[peers.Peer]]) -> list[type[peers.Peer]]:
        return [kind for kind in kinds if not (options.quick and kind in NEED_INSTALLING)]

    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as name:
        directory = Path(name)
        if "near" in options.only:
            for streams in (1, 4):
                rows += measure("S3", wanted(ON_S3), directory, size, streams, repeats)
            rows += measure("files", wanted(ON_FILES), directory, size, 1, repeats)
        if "far" in options.only:
            rows += measure("distant S3", wanted(FAR), directory, min(size, 512 * MIB), 1, repeats, far=True)
        if "direct" in options.only:
            rows += measure("parts straight to S3", DIRECT, directory, size, 1, repeats)
        if "tus" in options.only:
            rows += measure("tus on S3", wanted(ONE_PATCH), directory, size, 1, repeats)
            rows += measure("tus on files", wanted(ONE_PATCH_ON_FILES), directory, size, 1, repeats)
        if "signing" in options.only:
            rows += measure("payload signing", [peers.Boto3, peers.Boto3Defaults], directory, size, 1, repeats)
        if "memory" in options.only:
            grown = [memory.measure_idle(directory)]
            grown += memory.measure(directory, 256 * MIB if options.quick else 10 * GIB)
        if "slow" in options.only:
            grown += memory.measure_slow(directory, 10 if options.quick else 100)
        if "written" in options.only:
            sent = written.measure(directory, quick=options.quick)
        if "rates" in options.only:
            created = rates.measure(directory, quick=options.quick)
        if "scale" in options.only:
            scaled = scale.measure(directory, quick=options.quick)
        if "pages" in options.only:
            looked = pages.measure(directory, quick=options.quick)
    report = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "bytes": size,
        "repeats": repeats,
        "uploads": [asdict(row) for row in rows],
        "memory": [asdict(growth) for growth in grown],
        "written": [asdict(row) for row in sent],
        "create_session": [asdict(rate) for rate in created],
        "scale": [asdict(row) for row in scaled],
        "pages": [asdict(row) for row in looked],
    }
    tables = [
        table(rows),
        memory.table(grown),
        written.table(sent),
        rates.table(created),
        scale.table(scaled),
        pages.table(looked),
    ]
    print("\n\n".join(["", *tables]))
    out = Path("var/bench.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=1))
    print(f"\nWritten to {out}.")


def measure(
    store: str,
    kinds: list[type[peers.Peer]],
    directory: Path,
    size: int,
    streams: int,
    repeats: int,
    *,
    far: bool = False,
) -> list[Row]:
    """Measure the peers in turn, ``repeats`` times.

    Other load on the machine thus affects all peers alike. Each repeat starts with another peer. Before each
    measurement, the data of the previous one is synced to disk.
    """
    setting = f"{store}, {streams} stream{'s' * (streams > 1)}"
    speed, cpu, peak = defaultdict(list), defaultdict(list), defaultdict(list)
    with running(kinds, directory, far=far) as started:
        for peer in started:
            for _ in range(6):  # warm up every worker: imports, connections, first allocations
                survives(peer, 10 * MIB, 1)
        for repeat in range(repeats):
            first = repeat % len(started)
            for peer in started[first:] + started[:first]:
                os.sync()
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
    """Upload; return False if another server fails, but raise the errors of uploads and boto3."""
    try:
        peers.together(peer, size, streams)
    except RuntimeError as error:
        if isinstance(peer, peers.Ours | peers.Boto3):
            raise
        print(f"{peer.name} failed: {error}", flush=True)
        return False
    return True


def calls_per_gib(kind: type[peers.Peer], directory: Path) -> float | None:
    """Count the storage calls of a smaller file in an untimed run: counting costs time."""
    size = 128 * MIB
    with running([kind], directory, counted=True) as (peer,):
        if not survives(peer, size, 1):
            return None
        return sum(peer.calls.values()) * GIB / size  # type: ignore[attr-defined]


@contextmanager
def running(
    kinds: list[type[peers.Peer]], directory: Path, *, counted: bool = False, far: bool = False
) -> Iterator[list[peers.Peer]]:
    """Run peers on one store, and delete it afterwards."""
    place = Path(tempfile.mkdtemp(dir=directory))
    store = weed.start(place / "weed")
    started = []
    try:
        with proxied(store.endpoint) as proxy, line_to(store.endpoint) as distant:
            endpoint = proxy.endpoint if counted else distant if far else store.endpoint
            environment = store.environment | {"AWS_S3_ENDPOINT_URL": endpoint}
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


@contextmanager
def line_to(endpoint: str) -> Iterator[str]:
    """Run a relay that simulates a distant store; yield its URL."""
    (port,) = weed.free_ports(1)
    command = [sys.executable, "-m", "bench.relay", str(port), endpoint.removeprefix("http://")]
    process = subprocess.Popen(command)
    try:
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


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
    parser.add_argument("--only", nargs="+", choices=PARTS, default=None, help="what to measure")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--directory", default=None, help="where the stores keep their data meanwhile")
    options = parser.parse_args()
    options.only = options.only or (IN_SHORT if options.quick else PARTS)
    return options


if __name__ == "__main__":
    main()
