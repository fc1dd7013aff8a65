from __future__ import annotations

import contextlib
import http.client
import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from bench import memory
from tests.data import MIB, sha256, some_bytes
from tests.e2e.conftest import Demo

AGE = "from uploads.models import *; UploadSession.objects.filter(pk='{}').update(expires_at='2020-01-01T00:00Z')"


def eventually(condition: Callable[[], bool], *, within: float = 60) -> None:
    """Wait until another process fulfills a condition."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


@pytest.mark.parametrize("where", ["demo", "demo_on_files"])
def test_64_mib_are_uploaded_and_downloaded(where: str, request: pytest.FixtureRequest) -> None:
    demo: Demo = request.getfixturevalue(where)
    data = some_bytes(64 * MIB)
    session = demo.create(len(data), FileName=f"{where}.bin")
    client = demo.http()
    ends = [10 * MIB, 34 * MIB, 64 * MIB]
    for start, end in itertools.pairwise([0, *ends]):
        answer = client.post(session["location"], files={"file": data[start:end]})
        if end < len(data):
            assert (answer.status_code, answer.json()["data"]["bytes_uploaded"]) == (200, end)
    assert answer.status_code == 201, answer.text
    download = client.get(answer.json()["data"]["file"]["viewUrl"], stream=True)
    assert sha256(download.iter_content(MIB)) == sha256([data])


def test_ready_block_example_works(demo: Demo) -> None:
    example = demo.ready_block.split("two chunks:")[1].split("──")[0]
    run = subprocess.run(["bash", "-e"], input=example, text=True, capture_output=True, check=True)
    assert '"bytes_uploaded":10485760' in run.stdout
    assert '"uploaded":true' in run.stdout


@pytest.mark.parametrize("kind", ["multipart", "raw"])
def test_chunked_encoding_is_received_completely(demo: Demo, kind: str) -> None:
    data = some_bytes(11 * MIB + 3)
    session = demo.create(len(data), FileName=f"chunked-{kind}.bin")
    boundary = "chunk-boundary"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="blob"\r\n\r\n'.encode()

    def blocks() -> Iterator[bytes]:
        if kind == "multipart":
            yield head
        yield from (data[start : start + 100_000] for start in range(0, len(data), 100_000))
        if kind == "multipart":
            yield f"\r\n--{boundary}--\r\n".encode()

    location = urlsplit(session["location"])
    connection = http.client.HTTPConnection(location.netloc)
    content_type = f"multipart/form-data; boundary={boundary}" if kind == "multipart" else "application/octet-stream"
    connection.request(
        "POST",
        f"{location.path}?{location.query}",
        body=blocks(),
        headers={"Authorization": f"Token {demo.token}", "Content-Type": content_type},
        encode_chunked=True,
    )
    with contextlib.closing(connection):
        assert connection.getresponse().status == 201


def test_encrypted_files_are_encrypted_at_rest(demo: Demo) -> None:
    session = demo.create(4, Encrypted=True, FileName="secret.txt")
    answer = demo.http().post(session["location"], files={"file": b"data"})
    assert answer.status_code == 201, answer.text
    stat = "from uploads.models import *; from uploads._internal.stores import get_store; " + (
        f"print(get_store('default').stat(UploadSession.objects.get(pk='{session['id']}').object_name))"
    )
    assert "encryption='AES256'" in demo.manage("shell", "-v0", "-c", stat)


def test_celery_expires_stale_sessions(demo: Demo) -> None:
    session = demo.create(100 * MIB)
    client = demo.http()
    client.post(session["location"], data=bytes(10 * MIB))
    demo.manage("shell", "-v0", "-c", AGE.format(session["id"]))
    demo.manage("shell", "-v0", "-c", "from uploads.tasks import *; expire_sessions.delay()")
    row = f"from uploads.models import *; print(UploadSession.objects.get(pk='{session['id']}').storage_released)"
    eventually(lambda: "True" in demo.manage("shell", "-v0", "-c", row))
    assert client.post(session["location"], data=b"x").status_code == 410


@pytest.mark.parametrize("auth", [("demo", "demo"), None])
def test_basic_and_token_authentication(demo: Demo, auth: tuple[str, str] | None) -> None:
    client = requests.Session() if auth else demo.http()
    answer = client.post(
        f"{demo.url}/api/2.0/files/1/upload/create_session", json={"FileName": "a", "FileSize": 1}, auth=auth
    )
    assert answer.status_code == 200


def test_memory_is_independent_of_chunk_size(tmp_path: Path) -> None:
    """Grow by at most one filling part buffer, two in flight and 10 MiB.

    The bound holds for small chunks and for one chunk of 256 MiB.
    """
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux tells a process's peak")
    bound = 3 * 10 + 10
    grown = memory.measure(tmp_path, 256 * MIB)
    assert [growth for growth in grown if growth.mib > bound] == []
