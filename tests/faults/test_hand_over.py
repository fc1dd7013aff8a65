"""Hand a session over to a new request while the old connection stays open."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest
import requests

from tests.data import MIB, some_bytes
from tests.e2e.test_upload import eventually
from tests.faults.client import Client
from tests.faults.conftest import check
from tests.faults.stack import Stack

DATA = some_bytes(12 * MIB)


@pytest.fixture(scope="module")
def patient(whole_stack: Stack) -> Iterator[Stack]:
    """Run two hosts with long read timeouts, so that only a handover frees a session."""
    for name in ("patient", "other"):
        whole_stack.start_web(name, PATIENT="1")
    yield whole_stack
    for name in ("patient", "other"):
        whole_stack.kill(name)


@contextmanager
def zombie(
    stack: Stack, path: str, data: bytes, declared: int, method: str = "POST", extra: str = ""
) -> Iterator[socket.socket]:
    """Send ``data``, part of a body, and keep the connection open without sending more."""
    url = urlsplit(stack.url("patient"))
    uid = path.rpartition("=")[2].rpartition("/")[2]
    kind = "application/octet-stream" if method == "POST" else "application/offset+octet-stream"
    with socket.create_connection((url.hostname or "", url.port or 80)) as connection:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Token {stack.token}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {declared}\r\n"
            f"Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n{extra}\r\n"
        )
        connection.sendall(head.encode() + data)
        eventually(lambda: stack.ask(f"UploadSession.objects.get(pk='{uid}').lease_until is not None"))
        yield connection


@contextmanager
def sending(connection: socket.socket) -> Iterator[None]:
    """Send a block several times a second."""
    ended = threading.Event()

    def send() -> None:
        with suppress(OSError):
            while not ended.wait(0.1):
                connection.sendall(bytes(32 * 1024))

    thread = threading.Thread(target=send)
    thread.start()
    yield
    ended.set()
    thread.join()


@pytest.mark.parametrize("web", ["patient", "other"])
def test_repeated_chunk_takes_over_session(patient: Stack, web: str) -> None:
    client = Client([patient.url(web)], patient.token)
    path = client.create(len(DATA))
    with zombie(patient, path, DATA[: 5 * MIB], 6 * MIB):
        answer = client.request("POST", path, files={"file": DATA[: 6 * MIB]})
        assert answer is not None
        assert answer.status_code == 200, answer.text
        answer = client.request("POST", path, files={"file": DATA[6 * MIB :]})
        assert answer is not None
        assert answer.status_code == 201, answer.text
    check(patient, client, answer.json()["data"], DATA)


def test_chunk_with_a_range_takes_over(patient: Stack) -> None:
    """UpChunk does not retry 423: a client that says where its chunk begins has given up the older request."""
    client = Client([patient.url()], patient.token)
    path = client.create(len(DATA))
    size = len(DATA)
    place = f"bytes 0-{size - 1}/{len(DATA)}"
    old = zombie(patient, path, DATA[: 5 * MIB], size, extra=f"Content-Range: {place}\r\n")
    with old as connection, sending(connection):
        headers = {"Content-Type": "application/octet-stream", "Content-Range": place}
        answer = client.request("PUT", path, data=DATA, headers=headers)
        assert answer is not None
        assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("web", ["patient", "other"])
def test_tus_head_takes_over_received_bytes(patient: Stack, web: str) -> None:
    """Keep the bytes received on the open connection, and hand over within seconds."""
    http = requests.Session()
    http.headers.update({"Authorization": f"Token {patient.token}", "Tus-Resumable": "1.0.0"})
    payload = {"Upload-Length": str(len(DATA))}
    path = urlsplit(http.post(f"{patient.url()}/tus/", headers=payload, timeout=30).headers["Location"]).path
    with zombie(patient, path, DATA[: 5 * MIB], len(DATA), method="PATCH"):
        reported = http.head(f"{patient.url(web)}{path}", timeout=9)  # clients give up after this time
        assert (reported.status_code, reported.headers["Upload-Offset"]) == (200, str(5 * MIB))
        chunk = {"Upload-Offset": reported.headers["Upload-Offset"], "Content-Type": "application/offset+octet-stream"}
        answer = http.patch(f"{patient.url(web)}{path}", DATA[5 * MIB :], headers=chunk, timeout=30)
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(len(DATA)))
    file = http.get(f"{patient.url()}{path}", timeout=30).json()
    assert http.get(file["url"], timeout=30).content == DATA


@pytest.mark.parametrize("question", ["{path}", "/api/2.0/files/1/session/{uid}", "/tus/{uid}"])
def test_status_request_does_not_take_over(patient: Stack, question: str) -> None:
    """Keep the upload of a silent client when a page requests its progress."""
    client = Client([patient.url("other")], patient.token)
    path = client.create(6 * MIB)
    uid = path.rpartition("=")[2]
    lease = f"str(UploadSession.objects.get(pk='{uid}').lease_until)"
    with zombie(patient, path, DATA[: 5 * MIB], 6 * MIB) as connection:
        asked: set[str] = set()

        def ask() -> int:
            answer = client.request("GET", question.format(path=path, uid=uid))
            assert answer is not None
            assert answer.status_code == 200, answer.text
            asked.add(patient.ask(lease))
            return len(asked)

        eventually(lambda: ask() > 4)  # The lease was renewed several times.
        connection.sendall(DATA[5 * MIB : 6 * MIB])
        connection.settimeout(20)
        assert b" 201 " in connection.recv(4096).splitlines()[0]


def test_cut_chunked_body_keeps_received_bytes(patient: Stack) -> None:
    """Lose less than one block of 64 KiB."""
    url, tus = urlsplit(patient.url("patient")), {"Authorization": f"Token {patient.token}", "Tus-Resumable": "1.0.0"}
    begun = requests.post(f"{patient.url()}/tus/", headers={"Upload-Length": str(len(DATA))} | tus, timeout=30)
    path, sent = urlsplit(begun.headers["Location"]).path, 3 * MIB + 12_345
    payload = {"Host": url.netloc, "Transfer-Encoding": "chunked", "Upload-Offset": "0", **tus}
    payload["Content-Type"] = "application/offset+octet-stream"
    head = f"PATCH {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in payload.items()) + "\r\n"
    with socket.create_connection((url.hostname or "", url.port or 80)) as connection:
        connection.sendall(head.encode())
        for start in range(0, sent, 1000):
            block = DATA[start : min(start + 1000, sent)]
            connection.sendall(b"%x\r\n%s\r\n" % (len(block), block))
    stored = f"UploadSession.objects.get(pk='{path.rstrip('/').rpartition('/')[2]}').bytes_stored"
    eventually(lambda: patient.ask(stored) > sent - 64 * 1024)


def test_abort_ends_waiting_request(patient: Stack) -> None:
    client = Client([patient.url("other")], patient.token)
    path = client.create(len(DATA))
    with zombie(patient, path, DATA[: 5 * MIB], 6 * MIB) as connection:
        answer = client.request("POST", f"{path}&abort=true")
        assert answer is not None
        assert answer.status_code == 200
        connection.settimeout(20)
        assert b" 410 " in connection.recv(4096).splitlines()[0]


def test_silent_client_keeps_session(patient: Stack) -> None:
    """Renew the lease of a silent client for longer than its duration (2 s here)."""
    client = Client([patient.url("other")], patient.token)
    path = client.create(6 * MIB)
    row = f"UploadSession.objects.get(pk='{path.rpartition('=')[2]}')"
    with zombie(patient, path, DATA[: 5 * MIB], 6 * MIB) as connection:
        deadlines: set[str] = set()

        def renewed() -> int:
            deadlines.add(patient.ask(f"str({row}.lease_until)"))
            return len(deadlines)

        eventually(lambda: renewed() > 4)
        assert patient.ask(f"{row}.fence") == 1
        connection.sendall(DATA[5 * MIB : 6 * MIB])
        connection.settimeout(20)
        assert b" 201 " in connection.recv(4096).splitlines()[0]
