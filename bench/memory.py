"""Memory growth of a server process during one upload.

It must be the same for small chunks and for one chunk of the whole file.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import peers
from bench.measure import family, peak_mib, reset_peak, resident_mib
from devstack import weed
from devstack.run import web_command

MIB, GIB = 2**20, 2**30
SLOW_SECONDS = 10
USERS = """
import json
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token
from portal.models import Folder
found = []
for number in range(%d):
    user = User.objects.create(username=f"slow{number}")
    folder = Folder.objects.create(owner=user, title="documents")
    found.append([folder.pk, Token.objects.create(user=user).key])
print(json.dumps(found))
"""


@dataclass
class Growth:
    name: str
    mib: float


def measure(directory: Path, size: int) -> list[Growth]:
    place = directory / "memory"
    place.mkdir()
    store = weed.start(place / "weed")
    try:
        sizes = {peers.OursRaw: min(size, 4 * GIB), peers.OursWhole: size}
        return [_growth(kind(place, dict(store.environment)), least) for kind, least in sizes.items()]
    finally:
        store.stop()


class ManyThreads(peers.OursRaw):
    """Use more threads than slow clients: a request occupies one thread for its duration."""

    def command(self) -> list[str]:
        return web_command(f"127.0.0.1:{self.port}", threads="128")


def measure_slow(directory: Path, clients: int) -> list[Growth]:
    """Return the growth with many slow clients; upload as another client at the end."""
    place = directory / "slow"
    place.mkdir()
    store = weed.start(place / "weed")
    peer = ManyThreads(place, dict(store.environment))
    peer.start()
    try:
        _warm_up(peer)
        before = {pid: resident_mib(pid) for pid in family(peer.pid)}
        users = json.loads(peer.manage("shell", "-v0", "-c", USERS % clients).splitlines()[-1])
        with contextlib.ExitStack() as lines:
            drips = [lines.enter_context(_dripping(peer, folder, token)) for folder, token in users]
            ends = time.monotonic() + SLOW_SECONDS
            while time.monotonic() < ends:
                for drip in drips:
                    drip.sendall(bytes(8 * 2**10))
                time.sleep(1)
            grown = sum(resident_mib(pid) - resident for pid, resident in before.items())
            started = time.perf_counter()
            peer.upload(10 * MIB)
            seconds = time.perf_counter() - started
    finally:
        peer.stop()
        store.stop()
    sent = f"{clients} users at 8 KiB/s for {SLOW_SECONDS} s, all processes; another sends 10 MiB in {seconds:.2f} s"
    return [Growth(sent, round(grown, 1))]


@contextlib.contextmanager
def _dripping(peer: peers.Ours, folder: int, token: str) -> Iterator[socket.socket]:
    """Begin a 10 MiB chunk of a user without its body; yield the socket."""
    connection = peer.connect()
    auth = {"Authorization": f"Token {token}"}
    body = json.dumps({"FileName": "slow.bin", "FileSize": 20 * MIB}).encode()
    path, payload = f"/api/2.0/files/{folder}/upload/create_session", {"Content_Type": "application/json"} | auth
    _, answer = peers.send(connection, "POST", path, [body], **payload)
    connection.putrequest("POST", f"/ChunkedUploader.ashx?uid={json.loads(answer)['data']['id']}")
    for name, value in {"Content-Length": str(10 * MIB), "Content-Type": "application/octet-stream"}.items():
        connection.putheader(name, value)
    connection.putheader("Authorization", auth["Authorization"])
    connection.endheaders()
    yield connection.sock
    connection.close()


def measure_idle(directory: Path) -> Growth:
    """Return the memory of an idle process that has served requests."""
    place = directory / "idle"
    place.mkdir()
    store = weed.start(place / "weed")
    peer = peers.OursRaw(place, dict(store.environment))
    peer.start()
    try:
        _warm_up(peer)
        held = max(resident_mib(pid) for pid in family(peer.pid))
    finally:
        peer.stop()
        store.stop()
    return Growth("an idle process, all of it", round(held, 1))


def _warm_up(peer: peers.Ours) -> None:
    """Let every worker serve tiny files, so that imports and connections are done."""
    for _ in range(4):
        peers.together(peer, 12, streams=12)


def _growth(peer: peers.Ours, size: int) -> Growth:
    """Return the peak growth of the process that served the upload."""
    peer.start()
    try:
        _warm_up(peer)
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
