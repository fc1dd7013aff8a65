"""Measure create_session per second, with an empty and with a full table.

The reference is a bare view that writes one row.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from bench import peers
from devstack import weed

ROWS = 100_000
FILL = """
from django.utils import timezone
from datetime import timedelta
from uploads.models import UploadSession, hash_of
now = timezone.now()
UploadSession.objects.bulk_create(
    (UploadSession(owner_key="auth.user:1", folder_id="1", path=[1], file_name=f"row {i}", file_size=10**9,
     content_type="a/b", storage="default", object_name=f"rows/{i}", object_hash=hash_of(f"rows/{i}"),
     expires_at=now + timedelta(hours=12))
     for i in range(%d)), batch_size=500)
"""


@dataclass
class Rate:
    name: str
    per_second: float
    p50_ms: float
    p99_ms: float
    ratio: float
    """Rate relative to the bare view."""


class Bare(peers.Chunked):
    name = "a bare DRF view that writes one row"


def measure(directory: Path, *, quick: bool) -> list[Rate]:
    """Time sequential requests: the bare view, an empty table, then a full table."""
    count = 100 if quick else 1000
    place = directory / "rates"
    place.mkdir()
    store = weed.start(place / "weed")
    body = json.dumps({"fileName": "bench.bin", "fileSize": 10**9}).encode()
    api = "/api/2.0/files/1/upload/create_session"
    try:
        bare, ours = Bare(place, store.environment), peers.OursFiles(place, dict(store.environment))
        on_s3 = peers.Ours(place, dict(store.environment))
        timed: dict[str, list[float]] = {}
        bare.start()
        timed[Bare.name] = _times(bare, "/bare", body, count)
        bare.stop()
        for peer, where in ((ours, "on files"), (on_s3, "on S3")):
            peer.start()
            timed[f"create_session {where}, empty table"] = _times(peer, api, body, count, peer.auth)
            peer.stop()
        _fill(ours, ROWS // 50 if quick else ROWS)
        for peer, where in ((ours, "on files"), (on_s3, "on S3")):
            peer.start()
            timed[f"create_session {where}, {ROWS:,} sessions"] = _times(peer, api, body, count, peer.auth)
            peer.stop()
    finally:
        store.stop()
    limit = sum(timed[Bare.name])
    return [_rate(name, times, limit / sum(times)) for name, times in timed.items()]


def _times(peer: peers.Peer, path: str, body: bytes, count: int, auth: str = "") -> list[float]:
    connection = peer.connect()
    headers = {"Content_Type": "application/json"} | ({"Authorization": auth} if auth else {})
    times = []
    for number in range(count + 20):
        start = time.perf_counter()
        peers.send(connection, "POST", path, [body], **headers)
        if number >= 20:
            times.append(time.perf_counter() - start)
    connection.close()
    return times


def _fill(peer: peers.Ours, rows: int) -> None:
    peer.manage("shell", "-v0", "-c", FILL % rows)


def _rate(name: str, times: list[float], ratio: float) -> Rate:
    centiles = statistics.quantiles(times, n=100)
    return Rate(
        name,
        round(len(times) / sum(times), 1),
        round(centiles[49] * 1000, 2),
        round(centiles[98] * 1000, 2),
        round(ratio, 2),
    )


def table(rates: list[Rate]) -> str:
    lines = ["| | per second | p50 ms | p99 ms | of the bare view |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {rate.name} | {rate.per_second:.0f} | {rate.p50_ms:.2f} | {rate.p99_ms:.2f} | {rate.ratio:.2f} |"
        for rate in rates
    ]
    return "\n".join(lines)
