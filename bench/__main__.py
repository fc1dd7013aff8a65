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

from bench import peers, rates
from bench.measure import cpu_seconds, peak_mib, reset_peak
from portal import weed
from tests.proxy import proxied

GIB = 2**30
MIB = 2**20

ON_S3 = [peers.Boto3, peers.Ours, peers.OursRaw, peers.OursLarge, peers.Tus]
ON_FILES = [peers.Copy, peers.OursFiles, peers.TusFiles, peers.Chunked, peers.Tuspy]


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
    size, repeats = (128 * MIB, 1) if options.quick else (options.size * MIB, options.repeats)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as directory:
        for streams in (1, 4):
            rows += measure(ON_S3, Path(directory), size, streams, repeats, options.only)
        rows += measure(ON_FILES, Path(directory), size, 1, repeats, options.only)
        signing = [peers.Boto3, peers.Boto3Defaults]
        rows += measure(signing, Path(directory), size, 1, repeats, options.only, label="payload signing")
        created = [] if options.only else rates.measure(Path(directory), quick=options.quick)
    report = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "bytes": size,
        "repeats": repeats,
        "uploads": [asdict(row) for row in rows],
        "create_session": [asdict(rate) for rate in created],
    }
    print(table(rows) + "\n\n" + rates.table(created))
    out = Path("var/bench.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=1))
    print(f"\nWritten to {out}.")


def measure(
    kinds: list[type[peers.Peer]],
    directory: Path,
    size: int,
    streams: int,
    repeats: int,
    only: str,
    label: str = "",
) -> list[Row]:
    """Measure the peers in turn, ``repeats`` times, so that what the machine does besides hits all alike."""
    kinds = [kind for kind in kinds if only in kind.__name__ or kind is kinds[0]]
    setting = label or f"{'S3' if kinds[0] is peers.Boto3 else 'files'}, {streams} stream{'s' * (streams > 1)}"
    speed, cpu, peak = defaultdict(list), defaultdict(list), defaultdict(list)
    for repeat in range(repeats):
        for kind in kinds:
            with running(kind, directory) as peer:
                for _ in range(6):  # every worker once: imports, connections, first-time allocations
                    peer.upload(10 * MIB)
                reset_peak(peer.pid)
                before, start = cpu_seconds(peer.pid), time.perf_counter()
                peers.together(peer, size, streams)
                seconds = time.perf_counter() - start
                speed[kind].append(size / MIB / seconds)
                cpu[kind].append((cpu_seconds(peer.pid) - before) * GIB / size)
                peak[kind].append(peak_mib(peer.pid))
                print(f"{setting}, {repeat + 1}/{repeats}: {kind.name}: {speed[kind][-1]:.0f} MiB/s", flush=True)
    limit = statistics.median(speed[kinds[0]])
    return [
        Row(
            setting,
            kind.name,
            round(statistics.median(speed[kind]), 1),
            round(statistics.median(speed[kind]) / limit, 2),
            round(statistics.median(cpu[kind]), 2),
            round(statistics.median(peak[kind])),
            calls_per_gib(kind, directory) if setting == "S3, 1 stream" else None,
        )
        for kind in kinds
    ]


def calls_per_gib(kind: type[peers.Peer], directory: Path) -> float:
    """Count the storage calls of a smaller file, apart from the timed runs: counting costs time."""
    size = 128 * MIB
    with running(kind, directory, counted=True) as peer:
        peer.upload(size)
        return sum(peer.calls.values()) * GIB / size  # type: ignore[attr-defined]


@contextmanager
def running(kind: type[peers.Peer], directory: Path, *, counted: bool = False) -> Iterator[peers.Peer]:
    """Run a peer on a store of its own, which is gone afterwards."""
    place = Path(tempfile.mkdtemp(dir=directory))
    store = weed.start(place / "weed")
    try:
        with proxied(store.endpoint) as proxy:
            environment = dict(store.environment)
            if counted:
                environment["AWS_S3_ENDPOINT_URL"] = proxy.endpoint
            peer = kind(place, environment)
            peer.calls = proxy.calls  # type: ignore[attr-defined]
            peer.start()
            try:
                yield peer
            finally:
                peer.stop()
    finally:
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
    parser.add_argument("--only", default="", help="peers whose class name contains this, and the limits")
    return parser.parse_args()


if __name__ == "__main__":
    main()
