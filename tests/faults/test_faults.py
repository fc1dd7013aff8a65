"""Faults between Django and its store, and killed processes.

A client that retries must end up with its file.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests

from devstack import weed
from tests.axes import axes
from tests.data import MIB, some_bytes
from tests.e2e.test_upload import eventually
from tests.faults.client import Client, GaveUp
from tests.faults.conftest import check
from tests.faults.stack import Stack
from tests.foreign import ForeignStore
from tests.proxy import (
    Action,
    corrupt,
    cut_before,
    empty_etag,
    error_in_200,
    error_in_200_after,
    kill_after,
    kill_before,
    lose_answer,
    refuse,
    slow,
    with_header,
)

Upload = Callable[..., Any]

CHUNKS = (3 * MIB, 6 * MIB, 3 * MIB)
"""Sizes that store a fragment, a part that includes it, and the last part."""


def faults(*cases: tuple[str, Action, int, int], marks: Any = ()) -> list[Any]:
    return [
        pytest.param(*case, id=f"{case[0]}-{case[1].__qualname__.split('.')[0]}-{case[2]}-{case[3]}", marks=marks)
        for case in cases
    ]


@pytest.mark.parametrize(
    ("kind", "action", "times", "skip"),
    [
        *faults(
            ("CreateMultipartUpload", lose_answer, 2, 0),
            ("PutObject", lose_answer, 2, 0),
            ("UploadPart", refuse, 6, 0),
            ("UploadPart", lose_answer, 2, 0),
            ("UploadPart", corrupt, 2, 1),
            ("UploadPart", slow(4), 2, 0),
            ("CompleteMultipartUpload", lose_answer, 2, 0),
            ("CompleteMultipartUpload", error_in_200_after, 1, 0),
            ("HeadObject", cut_before, 2, 0),
        ),
        *faults(
            ("CreateMultipartUpload", refuse, 4, 0),
            ("PutObject", refuse, 4, 0),
            ("GetObject", cut_before, 3, 0),
            ("UploadPart", refuse, 1, 0),
            ("UploadPart", cut_before, 3, 1),
            ("UploadPart", empty_etag, 1, 0),
            ("UploadPart", slow(2), 1, 0),
            ("DeleteObjects", refuse, 2, 0),
            ("CompleteMultipartUpload", refuse, 3, 0),
            ("CompleteMultipartUpload", cut_before, 3, 0),
            ("CompleteMultipartUpload", error_in_200, 2, 0),
            ("CompleteMultipartUpload", empty_etag, 1, 0),
            ("CompleteMultipartUpload", slow(2), 1, 0),
            ("CompleteMultipartUpload", slow(4), 2, 0),
            ("HeadObject", refuse, 3, 0),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_store_fault_is_retried(stack: Stack, upload: Upload, kind: str, action: Action, times: int, skip: int) -> None:
    done = stack.proxy.faults.done.total()
    stack.proxy.inject(kind, action, times=times, skip=skip)
    # Only the audit finds an upload whose creation response was lost, or a fragment that was not deleted.
    leaves = (kind, action) == ("CreateMultipartUpload", lose_answer) or kind == "DeleteObjects"
    upload(12 * MIB, *CHUNKS, leaves=leaves)
    assert stack.proxy.faults.done.total() > done, "the fault never came"


@pytest.mark.parametrize("moment", [kill_before, kill_after])
@pytest.mark.parametrize(
    "kind",
    [
        "UploadPart",
        "DeleteObjects",
        "CompleteMultipartUpload",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("PutObject", "HeadObject", "CreateMultipartUpload")),
    ],
)
def test_killed_workers_lose_nothing(stack: Stack, upload: Upload, kind: str, moment: Callable[..., Action]) -> None:
    """Kill workers around a part, between commit and response (DeleteObjects), and during completion."""
    done = stack.proxy.faults.done.total()
    stack.proxy.inject(kind, moment(stack.kill_workers))
    upload(12 * MIB, *CHUNKS, leaves=True)
    assert stack.proxy.faults.done.total() > done, "nothing was killed"


@axes(
    skip={"0": 0, "1": 1, "2": 2},
    numbered={"in-order": False, "numbered": True},
    rule={"equal-sizes": ForeignStore(equal_sizes=True), "refuses-unlisted": ForeignStore(refuses_unlisted=True)},
)
def test_killed_workers_lose_nothing_with_restrictive_store(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, skip: int, numbered: bool, rule: ForeignStore
) -> None:
    """Complete the file from acknowledged bytes, although some parts were stored twice."""
    name = f"picky-{skip}-{numbered}"
    stack.start_web(name)
    monkeypatch.setattr(stack.proxy, "store", rule)
    client, data = Client([stack.url(name)], stack.token), some_bytes(35 * MIB)
    stack.proxy.inject("UploadPart", kill_after(lambda: stack.kill_workers(name)), skip=skip)
    if numbered:
        path = client.create(len(data))
        for number in (1, 2, 3, 2, 4):
            chunk = data[(number - 1) * 10 * MIB : number * 10 * MIB]
            client.insist("POST", f"{path}&upload=true&chunkNumber={number}", files={"file": chunk})
        answer = client.insist("POST", f"{path}&finalize=true")
        assert answer.status_code == 201, answer.text
        file = answer.json()["data"]
    else:
        file = client.upload(data, itertools.repeat(25 * MIB))
    check(stack, client, file, data, leaves=True)
    stack.kill(name)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [kill_before, kill_after], ids=["before", "after"])
@pytest.mark.parametrize("kind", ["UploadPartCopy", "CompleteMultipartUpload", "CreateMultipartUpload"])
def test_composing_segments_survives_killed_workers(stack: Stack, kind: str, moment: Callable[..., Action]) -> None:
    stack.start_web("segments", SMALL_SEGMENTS="1")
    client = Client([stack.url("segments")], stack.token)
    data = some_bytes(20 * MIB)
    path = client.create(len(data))
    stack.proxy.inject(kind, moment(lambda: stack.kill_workers("segments")), skip=1)
    try:
        check(stack, client, client.send(path, data, itertools.repeat(5 * MIB)), data, leaves=True)
        assert stack.ask(f"UploadSession.objects.get(pk='{path.rpartition('=')[2]}').segments.count()") > 1
    finally:
        stack.kill("segments")


def test_publication_survives_killed_workers(stack: Stack, client: Client, upload: Upload) -> None:
    """Kill the worker when it deletes the old content of an edited file."""
    file = upload(1000)
    done = stack.proxy.faults.done.total()
    stack.proxy.inject("DeleteObject", kill_before(stack.kill_workers))
    data = some_bytes(7 * MIB, seed=2)
    answer = client.insist("POST", f"/api/2.0/files/file/{file['id']}/edit_session", json={"FileSize": len(data)})
    path = "/ChunkedUploader.ashx?uid=" + answer.json()["data"]["id"]
    edited = client.send(path, data, itertools.repeat(len(data)))
    assert stack.proxy.faults.done.total() > done, "nothing was killed"
    assert edited["id"] == file["id"]
    check(stack, client, edited, data, leaves=True)


@pytest.mark.parametrize(
    "change",
    [
        with_header("Content-Length", "7"),
        with_header("x-amz-checksum-crc32", "AAAAAA=="),
    ],
    ids=["size", "checksum"],
)
def test_head_mismatch_blocks_publication_until_retry(stack: Stack, client: Client, change: Action) -> None:
    data = some_bytes(5000)
    path = client.create(len(data), Encrypted=True)
    stack.proxy.inject("HeadObject", change)
    before = stack.ask("File.objects.count()")
    with pytest.raises(GaveUp) as gave_up:
        client.send(path, data, itertools.repeat(5000))
    assert gave_up.value.answer.json()["error"]["type"] == "completion_failed"
    assert stack.ask("File.objects.count()") == before
    uid = path.rpartition("=")[2]
    assert stack.ask(f"sessions.retry(UploadSession.objects.get(pk='{uid}')).state") == "completed"
    check(stack, client, client.send(path, data, itertools.repeat(5000)), data)


def test_upload_survives_store_outage(stack: Stack, upload: Upload) -> None:
    stack.proxy.faults.down = True
    threading.Timer(5, stack.proxy.heal).start()
    upload(12 * MIB, *CHUNKS)


def test_upload_survives_database_restart(stack: Stack, upload: Upload) -> None:
    if stack.wire is None:
        pytest.skip("SQLite has no connections to lose; PostgreSQL's lane does")
    restarts = threading.Event()

    def restart(call: Any) -> Any:
        if not restarts.is_set():
            restarts.set()
            stack.wire.cut(2)  # type: ignore[union-attr]
        return call.forward()

    for kind in ("UploadPart", "CompleteMultipartUpload"):
        restarts.clear()
        stack.proxy.inject(kind, restart)
        upload(12 * MIB, *CHUNKS)
        assert restarts.is_set()


def test_externally_aborted_upload_is_gone(stack: Stack, client: Client, upload: Upload) -> None:
    """Answer 410 after a lifecycle rule has aborted the multipart upload.

    The client must create a new session.
    """
    data = some_bytes(12 * MIB)
    path = client.create(len(data))
    assert client.insist("POST", path, files={"file": data[: 6 * MIB]}).status_code == 200
    session = f"UploadSession.objects.get(pk='{path.rpartition('=')[2]}')"
    key, upload_id = stack.ask(f"[{session}.object_name, {session}.upload_id]")
    stack.s3().abort_multipart_upload(Bucket=weed.BUCKET, Key=key, UploadId=upload_id)
    with pytest.raises(GaveUp) as gave_up:
        client.send(path, data[6 * MIB :], itertools.repeat(6 * MIB))
    assert (gave_up.value.answer.status_code, gave_up.value.answer.json()["error"]["type"]) == (410, "upload_gone")
    client.insist("DELETE", f"/api/2.0/files/1/session/{path.rpartition('=')[2]}")
    upload(12 * MIB, *CHUNKS)


def test_disconnect_during_chunk_stores_nothing(stack: Stack, client: Client, upload: Upload) -> None:
    data = some_bytes(12 * MIB)
    path = client.create(len(data))

    def cut_short() -> Any:
        yield data[: 5 * MIB + 17]
        raise ConnectionError

    for _ in range(3):
        with pytest.raises(requests.ConnectionError):
            client.http.post(client.urls[0] + path, data=cut_short())
        assert client.state(path)["bytes_uploaded"] == 0
    check(stack, client, client.send(path, data, itertools.cycle(CHUNKS)), data)


def test_file_completes_without_returning_client(stack: Stack, client: Client) -> None:
    data = some_bytes(3000)
    path = client.create(len(data))
    stack.proxy.inject("CompleteMultipartUpload", kill_before(stack.kill_workers))
    assert client.request("POST", path, files={"file": data}) is None
    uid = path.rpartition("=")[2]
    eventually(lambda: stack.ask(f"UploadSession.objects.get(pk='{uid}').state") == "completed")
    check(stack, client, client.send(path, data, itertools.repeat(3000)), data)


def test_expiry_survives_killed_celery(stack: Stack, client: Client, upload: Upload) -> None:
    paths = [client.create(12 * MIB, RelativePath=f"expiring/{number}") for number in range(4)]
    for path in paths:
        assert client.insist("POST", path, files={"file": some_bytes(6 * MIB)}).status_code == 200
    done = stack.proxy.faults.done.total()
    stack.proxy.inject("AbortMultipartUpload", kill_before(stack.kill_celery), skip=1)
    stack.ask("UploadSession.objects.open().update(expires_at='2020-01-01T00:00Z')")
    eventually(lambda: stack.proxy.faults.done.total() > done)
    # Any later run finishes the expiry; run it here, independent of how fast Celery restarts.
    stack.ask("sessions.expire_stale(batch_size=100)")
    eventually(lambda: stack.stored()[1] == set())
    folders = "UploadSession.objects.unreleased().exists() or Folder.objects.filter(provisional=True).exists()"
    eventually(lambda: not stack.ask(folders))
    assert {client.insist("GET", path).status_code for path in paths} == {410}
    upload(12 * MIB, *CHUNKS)


@pytest.mark.parametrize("skew", [-60, 60])
def test_clock_skew_between_hosts_is_tolerated(stack: Stack, upload: Upload, skew: int) -> None:
    name = f"host{skew}"
    stack.start_web(name, CLOCK_SKEW=str(skew))
    hosts = Client([stack.url(), stack.url(name)], stack.token)
    upload(12 * MIB, *CHUNKS, client=hosts)
    upload(12 * MIB, 4 * MIB, client=hosts)
    stack.kill(name)


def test_second_client_waits_for_first(stack: Stack, client: Client) -> None:
    """Answer 423 while the first client writes; accept the second after a worker kill."""
    data = some_bytes(12 * MIB)
    path = client.create(len(data))
    writing, go_on = threading.Event(), threading.Event()

    def first() -> Any:
        yield data[: 6 * MIB]
        writing.set()
        for start in range(6 * MIB, len(data), 16 * 2**10):  # slow, but never silent
            go_on.wait(0.1)
            yield data[start : start + 16 * 2**10]

    other = Client(client.urls, stack.token)
    thread = threading.Thread(target=lambda: client.request("POST", path, data=first()))
    thread.start()
    writing.wait(30)
    eventually(lambda: stack.ask("UploadSession.objects.filter(lease_until__isnull=False).exists()"))
    refused = other.request("POST", path, files={"file": data})
    assert refused is not None
    assert (refused.status_code, refused.json()["error"]["type"]) == (423, "session_busy")
    assert int(refused.headers["Retry-After"]) > 0
    stack.kill_workers()
    file = other.send(path, data, itertools.cycle(CHUNKS))
    go_on.set()
    thread.join()
    check(stack, other, file, data, leaves=True)


@pytest.mark.parametrize("numbered", [False, True])
def test_concurrent_duplicate_chunk_is_stored_once(stack: Stack, client: Client, numbered: bool) -> None:
    data = some_bytes(12 * MIB)
    path = client.create(len(data))
    where = path + ("&upload=true&chunkNumber=1" if numbered else "&offset=0")
    twice = [Client(client.urls, stack.token) for _ in range(2)]
    threads = [
        threading.Thread(target=one.insist, args=("POST", where), kwargs={"files": {"file": data[: 6 * MIB]}})
        for one in twice
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.state(path)["bytes_uploaded"] == 6 * MIB
    if numbered:
        client.insist("POST", f"{path}&upload=true&chunkNumber=2", files={"file": data[6 * MIB :]})
        answer = client.insist("POST", f"{path}&finalize=true")
    else:
        answer = client.insist("POST", path, files={"file": data[6 * MIB :]})
    assert answer.status_code == 201
    check(stack, client, answer.json()["data"], data)
