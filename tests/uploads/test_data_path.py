"""Test the storage calls and the memory that a file costs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from devstack import weed
from tests.data import MIB
from tests.helpers import Chunk, chunk_of, no_memory
from tests.proxy import proxied
from uploads._internal import sessions
from uploads._internal.http.exceptions import IncompleteBody
from uploads._internal.transfer import memory
from uploads._internal.transfer.memory import OutOfMemory
from uploads.exceptions import UploadError
from uploads.models import State, UploadSession

OpenSession = Callable[..., UploadSession]


@pytest.mark.parametrize(
    ("part_size", "chunks", "parts"),
    [
        pytest.param(10 * MIB, [10 * MIB] * 3 + [MIB], 4, id="10-MiB-chunks"),
        pytest.param(10 * MIB, [24 * MIB, 7 * MIB], 4, id="chunks-larger-than-a-part"),
        pytest.param(10 * MIB, [31 * MIB], 4, id="one-chunk"),
        pytest.param(10 * MIB, [100], 1, id="small-file"),
        pytest.param(5 * MIB, [10 * MIB] * 3 + [MIB], 7, id="chunks-of-two-of-the-smallest-parts"),
        pytest.param(5 * MIB, [31 * MIB], 7, id="one-chunk-of-the-smallest-parts"),
    ],
)
def test_n_parts_cost_n_plus_3_calls(
    s3: weed.Weed,
    s3_storage: dict[str, Any],
    use_storage: Callable[..., Any],
    open_session: OpenSession,
    uploads_settings: Callable[..., None],
    part_size: int,
    chunks: list[int],
    parts: int,
) -> None:
    uploads_settings(PART_SIZE=part_size)
    with proxied(s3.endpoint) as proxy:
        s3_storage["OPTIONS"]["endpoint_url"] = proxy.endpoint
        use_storage(s3_storage)
        session = open_session(sum(chunks))
        for size in chunks:
            session = sessions.receive(session, Chunk(iter([bytes(size)]), at_most=size + 200))
        assert session.state == State.COMPLETED
        assert dict(proxy.calls) == {
            "CreateMultipartUpload": 1,
            "UploadPart": parts,
            "CompleteMultipartUpload": 1,
            "HeadObject": 1,
        }


def test_request_beyond_memory_limit_can_be_retried(
    file_store: Any, small_chunks: None, open_session: OpenSession, uploads_settings: Callable[..., None]
) -> None:
    uploads_settings(MAX_BUFFER_MEMORY=8, BUFFER_WAIT=timedelta(milliseconds=1))
    session = open_session(6)
    with no_memory(), pytest.raises(OutOfMemory):
        sessions.receive(session, chunk_of(b"abcdef"))
    assert sessions.receive(session, chunk_of(b"abcdef")).state == State.COMPLETED


def test_memory_is_reserved_as_buffers_fill(
    file_store: Any, small_chunks: None, open_session: OpenSession, uploads_settings: Callable[..., None]
) -> None:
    """Two slow requests, which may need all memory together, leave room for a third."""
    uploads_settings(MAX_BUFFER_MEMORY=12, BUFFER_WAIT=timedelta(milliseconds=1))

    def slow(*beside: sessions.Chunk) -> Iterator[bytes]:
        yield b"abc"
        for chunk in beside:
            assert sessions.receive(open_session(6), chunk).state == State.COMPLETED
        yield b"def"

    small = Chunk(iter([b"xyz", b"xyz"]), at_most=6)
    other = Chunk(slow(small), at_most=6)
    assert sessions.receive(open_session(6), Chunk(slow(other), at_most=6)).state == State.COMPLETED
    share = memory.MemoryReservation()
    share.grow(12, lambda: None)
    share.close()


@pytest.mark.parametrize("end", [IncompleteBody(received=3, declared=6), None], ids=["cut", "refused"])
def test_failed_request_releases_its_memory(
    file_store: Any,
    small_chunks: None,
    open_session: OpenSession,
    uploads_settings: Callable[..., None],
    end: Exception | None,
) -> None:
    uploads_settings(MAX_BUFFER_MEMORY=6, BUFFER_WAIT=timedelta(milliseconds=1))

    def body() -> Iterator[bytes]:
        yield b"abc"
        if end:
            raise end
        yield b"too much"

    session = open_session(6)
    for _ in range(3):
        with pytest.raises(UploadError):
            sessions.receive(session, Chunk(body()))
    assert sessions.receive(session, chunk_of(b"abcdef")).state == State.COMPLETED


def test_memory_is_granted_in_request_order(uploads_settings: Callable[..., None]) -> None:
    uploads_settings(MAX_BUFFER_MEMORY=10)
    order: list[int] = []

    def take(number: int) -> None:
        share = memory.MemoryReservation()
        share.grow(10 if number == 0 else 1, lambda: waiting.release())
        order.append(number)
        share.close()

    waiting = threading.Semaphore(0)
    threads = [threading.Thread(target=take, args=[number]) for number in range(3)]
    with no_memory():
        for thread in threads:  # The large request is first; the small ones must not overtake it.
            thread.start()
            assert waiting.acquire(timeout=30)
    for thread in threads:
        thread.join()
    assert order[0] == 0


def test_oversized_request_is_served_alone(
    uploads_settings: Callable[..., None],
) -> None:
    uploads_settings(MAX_BUFFER_MEMORY=10, BUFFER_WAIT=timedelta(milliseconds=1))
    large, other = memory.MemoryReservation(), memory.MemoryReservation()
    large.grow(1000, lambda: None)
    with pytest.raises(OutOfMemory):
        other.grow(1, lambda: None)
    large.close()
    other.grow(1, lambda: None)
    other.close()


def test_overdraft_owner_skips_queue(uploads_settings: Callable[..., None]) -> None:
    uploads_settings(MAX_BUFFER_MEMORY=8)
    inside, ahead, behind = memory.MemoryReservation(), memory.MemoryReservation(), memory.MemoryReservation()
    inside.grow(8, lambda: None)
    ahead.grow(1, lambda: None)
    waits = threading.Event()
    thread = threading.Thread(target=behind.grow, args=[4, waits.set])
    thread.start()
    assert waits.wait(30)
    ahead.grow(1, lambda: None)
    for share in (ahead, inside):
        share.close()
    thread.join()
    behind.close()
