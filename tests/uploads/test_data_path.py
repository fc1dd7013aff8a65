"""What a file costs: storage calls, queries, memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from portal import weed
from tests.data import MIB
from tests.helpers import chunk_of
from tests.proxy import proxied
from uploads import sessions
from uploads.exceptions import OutOfMemory
from uploads.models import State, UploadSession
from uploads.sessions import memory

OpenSession = Callable[..., UploadSession]


@pytest.mark.parametrize(
    ("chunks", "parts"),
    [
        pytest.param([10 * MIB] * 3 + [MIB], 4, id="10-MiB-chunks"),
        pytest.param([24 * MIB, 7 * MIB], 3, id="chunks-larger-than-a-part"),
        pytest.param([31 * MIB], 3, id="one-chunk"),
        pytest.param([100], 1, id="small-file"),
    ],
)
def test_a_file_of_n_parts_costs_n_plus_3_calls(
    s3: weed.Weed,
    s3_storage: dict[str, Any],
    use_storage: Callable[..., Any],
    open_session: OpenSession,
    chunks: list[int],
    parts: int,
) -> None:
    with proxied(s3.endpoint) as proxy:
        s3_storage["OPTIONS"]["endpoint_url"] = proxy.endpoint
        use_storage(s3_storage)
        session = open_session(sum(chunks))
        for size in chunks:
            session = sessions.receive(session, sessions.Chunk(iter([bytes(size)]), at_most=size + 200))
        assert session.state == State.COMPLETED
        assert dict(proxy.calls) == {
            "CreateMultipartUpload": 1,
            "UploadPart": parts,
            "CompleteMultipartUpload": 1,
            "HeadObject": 1,
        }


def test_a_request_beyond_the_memory_bound_is_asked_to_come_again(
    file_store: Any, small_chunks: None, open_session: OpenSession, uploads_settings: Callable[..., None]
) -> None:
    uploads_settings(MAX_BUFFER_MEMORY=30 * MIB, BUFFER_WAIT=timedelta(milliseconds=1))
    session = open_session(6)

    def meanwhile() -> Iterator[bytes]:
        yield b"abc"
        with pytest.raises(OutOfMemory):
            sessions.receive(open_session(3), chunk_of(b"xyz"))
        small = sessions.Chunk(iter([b"xyz"]), at_most=3)
        assert sessions.receive(open_session(3), small).state == State.COMPLETED
        yield b"def"

    assert sessions.receive(session, sessions.Chunk(meanwhile())).state == State.COMPLETED
    assert sessions.receive(open_session(3), chunk_of(b"xyz")).state == State.COMPLETED


def test_a_request_waits_for_memory_that_becomes_free(uploads_settings: Callable[..., None]) -> None:
    uploads_settings(MAX_BUFFER_MEMORY=10)
    order: list[str] = []

    def second() -> None:
        with memory.reserved(10):
            order.append("second")

    thread = threading.Thread(target=second)
    with memory.reserved(10):
        thread.start()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_one_request_larger_than_the_bound_is_served_alone(uploads_settings: Callable[..., None]) -> None:
    uploads_settings(MAX_BUFFER_MEMORY=10)
    with memory.reserved(1000):
        pass
