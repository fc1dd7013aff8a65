"""One user whose bodies drip does not keep the portal from others."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
import requests

from tests.data import MIB
from tests.e2e.conftest import Demo

BODIES = 30


@pytest.fixture
def dripping(demo: Demo) -> Iterator[list[socket.socket]]:
    """Chunks of the user demo whose bodies have begun and go no further."""
    with ExitStack() as stack:
        sockets = []
        for _ in range(BODIES):
            session = demo.create(MIB)
            url = urlsplit(session["location"])
            connection = stack.enter_context(socket.create_connection((url.hostname or "", url.port or 80)))
            head = (
                f"POST {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Token {demo.token}\r\n"
                f"Content-Type: application/octet-stream\r\nContent-Length: {MIB}\r\n\r\n"
            )
            connection.sendall(head.encode() + bytes(8192))
            sockets.append(connection)
        yield sockets


def test_pages_and_uploads_of_others_work_meanwhile(demo: Demo, dripping: list[socket.socket]) -> None:
    assert requests.get(f"{demo.url}/login/", timeout=20).status_code == 200
    admin = ("admin", "admin")
    folder = demo.manage(
        *("shell", "-v0", "-c"),
        "from portal.models import Folder; from django.contrib.auth.models import User\n"
        "print(Folder.objects.get_or_create(owner=User.objects.get(username='admin'), parent=None)[0].pk)",
    ).strip()
    created = requests.post(
        f"{demo.url}/api/2.0/files/{folder}/upload/create_session",
        json={"FileName": "fast.bin", "FileSize": 3},
        auth=admin,
        timeout=20,
    ).json()["data"]
    answer = requests.post(created["location"], files={"file": b"abc"}, auth=admin, timeout=20)
    assert answer.status_code == 201

    refused = [connection.recv(65536) for connection in dripping if _is_answered(connection)]
    assert all(b"429" in answer.splitlines()[0] and b"Retry-After" in answer for answer in refused)


def _is_answered(connection: socket.socket) -> bool:
    connection.settimeout(0.1)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
