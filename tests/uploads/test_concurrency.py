"""Test concurrent writes, completion and expiry on separate database connections.

SQLite skips these tests, because its threads would share one in-memory connection.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections

from portal.models import File
from tests.data import MIB, some_bytes
from tests.helpers import chunk_of, finalize
from uploads._internal import sessions
from uploads._internal.sessions import Chunk
from uploads._internal.stores.base import Store
from uploads.exceptions import UploadError
from uploads.models import State, UploadSession

OpenSession = Callable[..., UploadSession]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("small_chunks")]


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run the calls concurrently; return each one's result or UploadError."""
    if connection.vendor == "sqlite":
        pytest.skip("threads would share SQLite's memory; PostgreSQL's lane has connections")
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        except UploadError as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def fresh(session: UploadSession) -> UploadSession:
    found: UploadSession = UploadSession.objects.get(pk=session.pk)
    return found


def test_each_accepted_chunk_is_stored_once(file_store: Store, open_session: OpenSession) -> None:
    session = open_session(6)
    outcomes = at_once(*[lambda: sessions.receive(fresh(session), chunk_of(b"abc"))] * 2)
    stored = [outcome for outcome in outcomes if isinstance(outcome, UploadSession)]
    assert fresh(session).bytes_stored == 3 * len(stored)
    assert sum(session.parts.values_list("size", flat=True)) == 3 * len(stored)
    assert stored


def test_concurrent_numbered_chunks_are_all_counted(store: Store, open_session: OpenSession) -> None:
    session = open_session(8)

    def send(number: int) -> Callable[[], Any]:
        return lambda: sessions.receive_numbered(fresh(session), chunk_of(str(number).encode()), number)

    outcomes = at_once(*[send(number) for number in (1, 2, 3, 4, 5, 6, 7, 8, 1, 8)])
    assert [outcome for outcome in outcomes if not isinstance(outcome, UploadSession)] == []
    done = finalize(fresh(session))
    assert b"".join(store.read(done.object_name)) == b"12345678"


def finish(session: UploadSession) -> Any:
    return sessions.receive(fresh(session), chunk_of(b"ab"))


def abort(session: UploadSession) -> Any:
    return sessions.abort(fresh(session))


def expire(session: UploadSession) -> Any:
    return sessions.expire_now(fresh(session))


@pytest.mark.parametrize("pair", [(finish, abort), (finish, expire), (abort, expire), (finish, finish)])
@pytest.mark.parametrize("attempt", range(5))
def test_concurrent_endings_have_one_outcome(
    s3_store: Store, open_session: OpenSession, pair: tuple[Callable[..., Any], ...], attempt: int
) -> None:
    session = open_session(2)
    at_once(*[lambda verb=verb: verb(session) for verb in pair])
    end = fresh(session)
    sessions.expire_stale(batch_size=10)
    if end.state == State.COMPLETED:
        file = File.objects.get()
        assert b"".join(s3_store.read(str(file.content.name))) == b"ab"
    else:
        assert end.state in (State.ABORTED, State.EXPIRED)
        assert not File.objects.exists()
        assert s3_store.stat(session.object_name) is None


def test_concurrent_sessions_get_distinct_titles(file_store: Store, open_session: OpenSession) -> None:
    opened = [open_session(2, name="same.txt", create_new=True) for _ in range(4)]
    at_once(*[lambda session=session: finish(session) for session in opened])
    assert sorted(File.objects.values_list("title", flat=True)) == [
        "same (1).txt",
        "same (2).txt",
        "same (3).txt",
        "same.txt",
    ]


def test_concurrent_expiry_counts_each_session_once(file_store: Store, open_session: OpenSession) -> None:
    for _ in range(10):
        open_session()
    UploadSession.objects.update(expires_at="2020-01-01T00:00Z")
    counts = at_once(*[lambda: sessions.expire_stale(batch_size=3)] * 2)
    assert sum(counts) == 10
    assert set(UploadSession.objects.values_list("state", flat=True)) == {State.EXPIRED}


def test_concurrent_segment_starts_keep_one_upload(
    s3_store: Store,
    open_session: OpenSession,
    s3_uploads: Callable[[], set[str]],
    uploads_settings: Any,
) -> None:
    """A segment uses one multipart upload; the others are aborted."""
    uploads_settings(PART_SIZE=5 * MIB, STORES={"default": {"MAX_PARTS": 2}})
    data = some_bytes(24 * MIB)
    session = open_session(len(data))

    def send(number: int) -> Callable[[], Any]:
        chunk = data[(number - 1) * 6 * MIB : number * 6 * MIB]
        return lambda: sessions.receive_numbered(fresh(session), Chunk(iter([chunk]), at_most=len(chunk)), number)

    send(1)()
    outcomes = at_once(*[send(number) for number in (2, 2, 3, 3, 4, 4)])
    assert [outcome for outcome in outcomes if not isinstance(outcome, UploadSession)] == []
    assert s3_uploads() == set(session.segments.values_list("upload_id", flat=True))
    done = finalize(fresh(session))
    assert b"".join(s3_store.read(done.object_name)) == data
