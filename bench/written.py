"""Measure the bytes sent to the store for each byte of the file.

The ratio is 1 for chunks of whole parts, and at most 2 for smaller chunks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import peers
from devstack import weed
from tests.proxy import Proxy, proxied

KIB, MIB = 2**10, 2**20
CHUNKS = {"64 KiB": 64 * KIB, "500 KiB": 500 * KIB, "1 MiB": MIB, "10 MiB": 10 * MIB}
KIND = "application/octet-stream"


@dataclass
class Written:
    chunks: str
    ratios: list[float]
    """Ratios in order and numbered, then the same two in segments."""


class InSegments(peers.OursRaw):
    """Store the file in segments, each a multipart upload of its own."""

    def start(self) -> None:
        self.environment["DJANGO_SETTINGS_MODULE"] = "bench.segments"
        super().start()


def measure(directory: Path, *, quick: bool) -> list[Written]:
    size = (24 if quick else 72) * MIB
    found = []
    store = weed.start(directory / "written")
    try:
        with proxied(store.endpoint) as proxy:
            environment = store.environment | {"AWS_S3_ENDPOINT_URL": proxy.endpoint, "UPLOADS_MIN_CHUNK_SIZE": "1"}
            started = []
            for kind in (peers.OursRaw, InSegments):
                (directory / kind.__name__).mkdir()
                started.append(kind(directory / kind.__name__, dict(environment)))
                started[-1].start()
                _in_order(started[-1], 48 * MIB, 10 * MIB)  # The first large file probes the capabilities of the store.
            try:
                for name, chunk in CHUNKS.items():
                    ways = itertools.product(started, (_in_order, _numbered))
                    found.append(Written(name, [_ratio(proxy, send, peer, size, chunk) for peer, send in ways]))
            finally:
                for peer in started:
                    peer.stop()
    finally:
        store.stop()
    return found


def _ratio(
    proxy: Proxy, send: Callable[[peers.Ours, int, int], None], peer: peers.Ours, size: int, chunk: int
) -> float:
    proxy.headers.clear()
    send(peer, size, chunk)
    sent = (int(headers["content-length"]) for kind, headers in proxy.headers if kind in ("UploadPart", "PutObject"))
    return round(sum(sent) / size, 2)


def _in_order(peer: peers.Ours, size: int, chunk: int) -> None:
    peer.chunk_size = chunk
    peer.upload(size)


def _numbered(peer: peers.Ours, size: int, chunk: int) -> None:
    peer.chunk_size = chunk
    connection = peer.connect()
    path = peer.create(connection, size)
    for number, (_, data) in enumerate(peer.chunks(size), 1):
        address = f"{path}&upload=true&chunkNumber={number}"
        peers.send(connection, "POST", address, [data], Authorization=peer.auth, Content_Type=KIND)
    response, _ = peers.send(connection, "POST", f"{path}&finalize=true", [], Authorization=peer.auth)
    if response.status != 201:
        message = f"not stored: {response.status}"
        raise RuntimeError(message)
    connection.close()


def table(found: list[Written]) -> str:
    lines = [
        "| chunks of | in order | numbered | in order, in segments | numbered, in segments |",
        "|---|---:|---:|---:|---:|",
    ]
    return "\n".join(
        [*lines, *(f"| {row.chunks} | {' | '.join(f'{ratio:.2f}' for ratio in row.ratios)} |" for row in found)]
    )
