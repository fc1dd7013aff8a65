"""Lost COMMIT responses, and hosts that wrap requests in transactions.

Every acknowledged byte must be committed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.data import MIB, some_bytes
from tests.faults.client import Client
from tests.faults.conftest import check
from tests.faults.stack import Stack
from tests.faults.test_faults import CHUNKS
from tests.proxy import Action, Call, kill_after, kill_before

COMMIT, NEW_SESSION = b"COMMIT", b'INSERT INTO "upload_sessions_uploadsession"'


@pytest.fixture
def lose(stack: Stack) -> Iterator[Callable[..., None]]:
    """Yield a function that drops a COMMIT response; verify afterwards that it was dropped."""
    wire = stack.wire
    if wire is None:
        pytest.skip("SQLite has no answers to lose; PostgreSQL's lane does")
    losses = []
    yield lambda needle, skip=0: losses.append(wire.lose(needle, skip=skip))
    assert all(loss.done.is_set() for loss in losses), "nothing was lost"


@pytest.mark.parametrize("skip", range(4), ids=["fragment", "part", "last chunk", "publication"])
def test_lost_commit_of_ordered_chunk_is_harmless(
    upload: Callable[..., Any], lose: Callable[..., None], skip: int
) -> None:
    lose(COMMIT, skip)
    upload(12 * MIB, *CHUNKS)


def test_lost_commit_of_session_creation_is_harmless(
    stack: Stack, client: Client, upload: Callable[..., Any], lose: Callable[..., None]
) -> None:
    lose(NEW_SESSION)
    upload(12 * MIB, *CHUNKS, RelativePath="made/for this")


@pytest.mark.parametrize(
    "size", [pytest.param(5 * MIB, id="parts"), pytest.param(3 * MIB, id="fragments", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("skip", range(7))
def test_lost_commit_of_numbered_chunk_is_harmless(
    stack: Stack, client: Client, lose: Callable[..., None], size: int, skip: int
) -> None:
    """Drop the COMMIT response of one step.

    The steps take part numbers, store each chunk, finalize, join fragments and publish the file.
    """
    data = some_bytes(3 * size)
    path = client.create(len(data))
    lose(COMMIT, skip)
    for number in (1, 2, 3):
        chunk = data[(number - 1) * size : number * size]
        answer = client.insist("POST", f"{path}&upload=true&chunkNumber={number}", files={"file": chunk})
        assert answer.status_code == 200, answer.text
    answer = client.insist("POST", f"{path}&finalize=true")
    assert answer.status_code == 201, answer.text
    check(stack, client, answer.json()["data"], data)


@pytest.mark.parametrize("moment", [kill_before, kill_after])
def test_atomic_requests_keep_acknowledged_bytes(stack: Stack, moment: Callable[..., Action]) -> None:
    """Kill the worker right before or after the store completes the multipart upload."""
    name = f"atomic-{moment.__name__}"
    stack.start_web(name, ATOMIC_REQUESTS="1")
    client = Client([stack.url(name)], stack.token)
    data = some_bytes(12 * MIB)
    done = stack.proxy.faults.done.total()
    stack.proxy.inject("CompleteMultipartUpload", moment(lambda: stack.kill_workers(name)))
    file = client.upload(data, itertools.cycle(CHUNKS))
    assert stack.proxy.faults.done.total() > done
    check(stack, client, file, data, leaves=True)
    stack.kill(name)


def test_atomic_requests_refuse_second_writer(stack: Stack, client: Client) -> None:
    stack.start_web("atomic", ATOMIC_REQUESTS="1")
    data, url = some_bytes(12 * MIB), stack.url("atomic")
    first = Client([url], stack.token)
    path = first.create(len(data))
    seen = []

    def meanwhile(call: Call) -> Any:
        seen.append(Client([url], stack.token).request("POST", path, files={"file": data[: 6 * MIB]}))
        return call.forward()

    stack.proxy.inject("UploadPart", meanwhile)
    file = first.send(path, data, itertools.cycle((6 * MIB,)))
    assert seen[0] is not None
    assert seen[0].status_code == 423
    check(stack, client, file, data)
    stack.kill("atomic")


def test_transactional_middleware_is_reported(stack: Stack) -> None:
    stack.start_web("wrapped", EXTRA_MIDDLEWARE="tests.hosts.middleware.Transactional")
    client = Client([stack.url("wrapped")], stack.token)
    before = stack.ask("UploadSession.objects.count()"), stack.stored()
    answer = client.request("POST", "/api/2.0/files/1/upload/create_session", json={"FileName": "a", "FileSize": 1})
    assert answer is not None
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "transaction_open")
    assert (stack.ask("UploadSession.objects.count()"), stack.stored()) == before
    doctor = f"list(__import__('uploads._internal.doctor', fromlist=['x']).examine({stack.url('wrapped')!r}))"
    texts = stack.ask(f"[finding.text for finding in {doctor} if finding.about == 'path']")
    assert ["database transaction" in text for text in texts] == [True] * 3
    stack.kill("wrapped")
