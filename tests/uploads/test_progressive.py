"""Progressive chunks keep every byte that arrives.

Protocols that send a whole file in one request depend on this.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.axes import axes
from tests.data import MIB, some_bytes
from tests.proxy import Proxy, refuse
from uploads._internal import sessions
from uploads._internal.http.exceptions import IncompleteBody
from uploads._internal.sessions import Chunk, Rules
from uploads._internal.stores import get_store
from uploads._internal.stores.base import Store
from uploads._internal.transfer import writer
from uploads._internal.transfer.transactions import durable
from uploads.exceptions import ChunkBeyondFile, EmptyChunk, OffsetMismatch, StoreUnavailable
from uploads.models import State, UploadSession

OpenSession = Callable[..., UploadSession]
PROGRESSIVE = Rules(progressive=True, accepts_resends=False)
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_chunks")]


def row(session: UploadSession) -> UploadSession:
    found: UploadSession = UploadSession.objects.get(pk=session.pk)
    return found


def blocks_of(data: bytes, *, cut: int | None = None, block: int = MIB // 4) -> Iterator[bytes]:
    """Yield ``data`` in blocks; simulate a lost connection after ``cut`` bytes."""
    came = data if cut is None else data[:cut]
    for start in range(0, len(came), block):
        yield came[start : start + block]
    if cut is not None:
        raise IncompleteBody(received=cut, declared=len(data))


def send(session: UploadSession, data: bytes, *, cut: int | None = None, **options: Any) -> UploadSession:
    start = session.bytes_stored
    options.setdefault("at_most", len(data) - start)
    blocks = blocks_of(data[start:], cut=cut)
    return sessions.receive(session, Chunk(blocks, start=start, rules=PROGRESSIVE, **options))


def content(session: UploadSession) -> bytes:
    return b"".join(get_store("default").read(row(session).object_name))


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 31 * MIB + 7], ids=str)
@pytest.mark.parametrize("known", [True, False], ids=["length-known", "length-unknown"])
def test_one_chunk_completes_the_file(store: Store, open_session: OpenSession, size: int, *, known: bool) -> None:
    data = some_bytes(size)
    session = open_session(size) if known else open_session(None, at_most=64 * MIB)
    options: dict[str, Any] = {} if known else {"is_last": True, "at_most": None}
    done = send(session, data, **options)
    assert (done.state, done.file_size, done.size_known) == (State.COMPLETED, size, True)
    assert content(session) == data


@pytest.mark.parametrize("cut", [0, 1, MIB, 5 * MIB, 10 * MIB + 1, 24 * MIB + 3], ids=str)
def test_truncated_chunk_keeps_received_bytes(store: Store, open_session: OpenSession, cut: int) -> None:
    data = some_bytes(25 * MIB)
    session = open_session(len(data))
    with pytest.raises(IncompleteBody):
        send(session, data, cut=cut)
    assert row(session).bytes_stored == cut
    assert row(session).lease_until is None
    assert send(row(session), data).state == State.COMPLETED
    assert content(session) == data


def test_progress_is_committed_during_a_request(
    store: Store, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploads._internal.sessions.progressive.COMMIT_EVERY", 0)
    data = some_bytes(60 * MIB)
    session = open_session(len(data))
    seen = []

    def watched() -> Iterator[bytes]:
        for block in blocks_of(data, block=MIB):
            seen.append(row(session).bytes_stored)
            yield block

    sessions.receive(session, Chunk(watched(), at_most=len(data), start=0, rules=PROGRESSIVE))
    assert seen == sorted(seen)
    assert len(set(seen)) > 2
    assert seen[-1] >= 30 * MIB


def test_store_failure_keeps_committed_parts(proxy: Proxy, open_session: OpenSession) -> None:
    data = some_bytes(60 * MIB)
    session = open_session(len(data))
    proxy.inject("UploadPart", refuse, times=100, skip=3)
    with pytest.raises(StoreUnavailable):
        send(session, data)
    proxy.heal()
    assert row(session).bytes_stored % (10 * MIB) == 0
    assert send(row(session), data).state == State.COMPLETED
    assert content(session) == data


def test_wrong_offset_is_refused(file_store: Store, open_session: OpenSession) -> None:
    session = open_session(10)
    with pytest.raises(IncompleteBody):
        send(session, b"0123456789", cut=4)
    for start in (3, 5):
        with pytest.raises(OffsetMismatch, match="continue at 4"):
            sessions.receive(row(session), Chunk(iter([b"x"]), start=start, rules=PROGRESSIVE))


def test_bytes_beyond_file_size_are_refused(file_store: Store, open_session: OpenSession) -> None:
    session = open_session(10)
    with pytest.raises(ChunkBeyondFile):
        sessions.receive(session, Chunk(iter([b"0123456789", b"x"]), start=0, rules=PROGRESSIVE))
    assert row(session).state == State.OPEN


@axes(
    sizes={
        "64-KiB": (64 * 2**10, 6 * MIB),
        "500-KiB": (500 * 2**10, 21 * MIB),
        "1-MiB": (MIB, 21 * MIB),
        "10-MiB": (10 * MIB, 30 * MIB),
    },
    rules={"progressive": PROGRESSIVE, "atomic": Rules()},
    reported={"length-told": True, "chunked-encoding": False},
)
def test_each_byte_is_written_at_most_twice(
    proxy: Proxy, open_session: OpenSession, sizes: tuple[int, int], rules: Rules, *, reported: bool
) -> None:
    chunk, total = sizes
    data = some_bytes(total)
    session = open_session(total)
    for start in range(0, total, chunk):
        fragment = data[start : start + chunk]
        at_most = len(fragment) if reported else None
        session = sessions.receive(session, Chunk(iter([fragment]), at_most=at_most, start=start, rules=rules))
    assert session.state == State.COMPLETED
    assert content(session) == data
    written = sum(
        int(headers["content-length"]) for kind, headers in proxy.headers if kind in ("UploadPart", "PutObject")
    )
    assert written <= (2.1 if chunk < 5 * MIB else 1.01) * total


def test_fragment_of_uncertain_commit_is_kept(
    store: Store, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lose the response to COMMIT and cut off the database before the outcome is queried."""
    data = some_bytes(2 * MIB)
    session = open_session(len(data))

    def away(*_: Any) -> None:
        raise OperationalError

    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["uploads._internal.sessions.progressive"], "durable", losing_answers)
        patched.setattr(writer, "took_effect", away)
        with pytest.raises(OperationalError):
            send(session, data, cut=MIB)
    assert row(session).bytes_stored == MIB
    assert send(row(session), data).state == State.COMPLETED
    assert content(session) == data


@contextmanager
def losing_answers() -> Iterator[None]:
    with durable():
        yield
    raise OperationalError


def test_hanging_store_call_blocks_no_request(
    file_store: Store, open_session: OpenSession, uploads_settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads_settings(STORE_TIMEOUT=timedelta(milliseconds=200))
    session, goes_on, ended = open_session(40 * MIB), threading.Event(), threading.Event()

    def hang(*_: Any, **__: Any) -> str:
        goes_on.wait(20)
        ended.set()
        return ""

    monkeypatch.setattr(type(file_store), "put_part", hang)
    with pytest.raises(IncompleteBody):
        sessions.receive(session, Chunk(blocks_of(bytes(40 * MIB), cut=21 * MIB), at_most=40 * MIB, start=0))
    assert not ended.is_set()
    assert row(session).lease_until is None
    goes_on.set()


STEPS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 9 * MIB), st.none() | st.integers(0, 9 * MIB)), min_size=1, max_size=6
)


@pytest.mark.parametrize("where", ["s3_store", "file_store"])
def test_mixed_progressive_and_atomic_chunks_match_model(
    request: pytest.FixtureRequest, open_session: OpenSession, where: str
) -> None:
    """Mix protocols in one session.

    A truncated progressive chunk keeps the received bytes, an atomic one keeps none.
    """
    request.getfixturevalue(where)
    data = some_bytes(24 * MIB)

    @settings(derandomize=True, database=None)
    @given(steps=STEPS)
    def play(steps: list[tuple[bool, int, int | None]]) -> None:
        session, expected = open_session(len(data)), 0
        for progressive, size, cut in [*steps, (True, len(data), None)]:
            sent = data[expected : expected + size]
            interrupted = cut is not None and cut < len(sent)
            blocks = blocks_of(sent, cut=cut if interrupted else None)
            rules = Rules(progressive=progressive, least=0)
            chunk = Chunk(blocks, at_most=len(sent), start=expected, rules=rules)
            try:
                sessions.receive(row(session), chunk)
            except IncompleteBody:
                expected += (cut or 0) if progressive else 0
            except EmptyChunk:
                assert not sent
            else:
                expected += len(sent)
            assert row(session).bytes_stored == expected
            if expected == len(data):
                break
        assert row(session).state == State.COMPLETED
        assert content(session) == data

    play()
