"""Clients with slow bodies do not block other clients, whichever URL they use."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
import requests

from tests.data import MIB
from tests.e2e.conftest import Demo
from tests.e2e.test_upload import eventually

CONNECTIONS = 80
DRIP = 0.5
"""Seconds between two blocks of eight bytes."""
WITHIN = 5
"""Seconds within which another client must get a response."""
FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'


@dataclass
class Target:
    """A URL to which a slow client sends its body."""

    path: Callable[[Demo], str]
    headers: dict[str, str] = field(default_factory=dict)
    begins: bytes = b""
    method: str = "POST"
    anonymous: bool = False


def location(demo: Demo) -> str:
    url = urlsplit(demo.create(100 * MIB)["location"])
    return f"{url.path}?{url.query}"


def part(demo: Demo) -> str:
    reported = demo.http().post(
        f"{demo.url}/uppy/s3/multipart", json={"filename": "a.bin", "metadata": {"size": 100 * MIB}}
    )
    return f"/uppy/s3/multipart/{reported.json()['uploadId']}/1"


JSON = {"Content-Type": "application/json"}
TARGETS = {
    "fields": Target(lambda _: "/api/2.0/files/1/upload/create_session", JSON),
    "unknown-session": Target(lambda _: f"/ChunkedUploader.ashx?uid={'0' * 32}"),
    "login": Target(lambda _: "/api/2.0/authentication", JSON, anonymous=True),
    "nobody": Target(lambda _: "/api/2.0/files/1/upload/create_session", JSON, anonymous=True),
    "form": Target(
        lambda _: "/api/2.0/files/1/upload", {"Content-Type": "multipart/form-data; boundary=x"}, begins=FORM
    ),
    "chunk": Target(location),
    "part": Target(part, method="PUT"),
    "uppy": Target(lambda _: "/uppy/s3/multipart", JSON),
    "tus-creation": Target(
        lambda _: "/tus/",
        {
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(10 * MIB),
            "Content-Type": "application/offset+octet-stream",
        },
    ),
}


@contextmanager
def dripping(demo: Demo, target: Target) -> Iterator[None]:
    url = urlsplit(demo.url)
    path = target.path(demo)
    auth = {} if target.anonymous else {"Authorization": f"Token {demo.token}"}
    headers = {"Host": url.netloc, "Content-Length": str(10 * MIB), **auth, **target.headers}
    head = f"{target.method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    ended = threading.Event()
    with ExitStack() as stack:
        connections = []
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(socket.create_connection((url.hostname or "", url.port or 80)))
            connection.sendall(f"{head}\r\n".encode() + target.begins)
            connections.append(connection)

        def drip() -> None:
            while not ended.wait(DRIP):
                for connection in connections:
                    with suppress(OSError):
                        connection.sendall(b"aaaaaaaa")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@pytest.fixture(scope="module")
def folder(demo: Demo) -> str:
    """Return the id of a folder of another user."""
    return demo.manage(
        *("shell", "-v0", "-c"),
        "from portal.models import Folder; from django.contrib.auth.models import User\n"
        "print(Folder.objects.get_or_create(owner=User.objects.get(username='admin'), parent=None)[0].pk)",
    ).strip()


@pytest.fixture
def released(demo: Demo) -> Iterator[None]:
    """Wait until all slots are free: the server notices closed connections with a delay."""
    yield
    create = f"{demo.url}/api/2.0/files/1/upload/create_session"

    def all_free() -> bool:
        with ThreadPoolExecutor(15) as pool:
            answers = pool.map(lambda _: demo.http().post(create, json={}, timeout=30), range(15))
            return {answer.status_code for answer in answers} == {400}

    eventually(all_free)


MAIN = ("fields", "login", "chunk", "tus-creation")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in MAIN else pytest.mark.slow) for kind in TARGETS]
)
@pytest.mark.usefixtures("released")
def test_slow_bodies_leave_threads_to_others(demo: Demo, folder: str, kind: str) -> None:
    admin = ("admin", "admin")
    with dripping(demo, TARGETS[kind]):
        # Longer than the server drains a refused body.
        ends = time.monotonic() + 4
        while time.monotonic() < ends:
            assert requests.get(f"{demo.url}/login/", timeout=WITHIN).status_code == 200
            created = requests.post(
                f"{demo.url}/api/2.0/files/{folder}/upload/create_session",
                json={"FileName": "fast.bin", "FileSize": 3},
                auth=admin,
                timeout=WITHIN,
            ).json()["data"]
            answer = requests.post(created["location"], files={"file": b"abc"}, auth=admin, timeout=WITHIN)
            assert answer.status_code == 201
