from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.data import MIB, some_bytes
from tests.helpers import Chunk, Uploader, chunk_of
from tests.proxy import Proxy, lose_answer
from uploads import signals
from uploads._internal import sessions
from uploads._internal.http.exceptions import IncompleteBody
from uploads._internal.stores.base import Store
from uploads.exceptions import (
    ChunkBeyondFile,
    ChunkNotMultiple,
    ChunkTooLarge,
    ChunkTooSmall,
    EmptyChunk,
    LeaseLost,
    SessionAborted,
    SessionBusy,
    SessionExpired,
    UploadError,
)
from uploads.models import UploadSession

OpenSession = Callable[..., UploadSession]


def state_of(session: UploadSession) -> dict[str, Any]:
    """Return all state of a session that a refused chunk must not change."""
    row = UploadSession.objects.values().get(pk=session.pk)
    # The first bytes sent to the store fix mode and layout, even if their chunk fails.
    for name in ("fence", "updated_at", "layout", "upload_id", "mode"):
        del row[name]
    return row | {
        "parts": list(session.parts.values_list("offset", "size")),
        "fragments": list(session.fragments.values_list("offset", "size")),
    }


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([23 * MIB], id="one-chunk-of-several-parts"),
        pytest.param([10 * MIB, 24 * MIB, 100], id="chunks-larger-than-a-part"),
        pytest.param([1, 1, 1], id="single-bytes"),
        pytest.param([1_047_552] * 12 + [7], id="chunks-below-the-minimum-of-s3"),
        pytest.param([5 * MIB, 5 * MIB - 1, 1], id="around-the-minimum-of-s3"),
        pytest.param([4 * MIB, 9 * MIB, 3 * MIB], id="a-tail-that-spills-over"),
        pytest.param([0], id="empty-file"),
    ],
)
def test_chunks_of_any_size_form_the_file(
    store: Store, small_chunks: None, open_session: OpenSession, sizes: list[int]
) -> None:
    data = some_bytes(sum(sizes))
    session = open_session(len(data))
    sent = 0
    for size in sizes:
        blocks = (data[start : min(start + MIB, sent + size)] for start in range(sent, sent + size, MIB))
        session = sessions.receive(session, Chunk(blocks, at_most=size))
        sent += size
        assert session.bytes_stored == sent
    assert session.state == "completed"
    assert b"".join(store.read(session.object_name)) == data
    assert sum(session.parts.values_list("size", flat=True)) == len(data)


def test_completion_leaves_no_fragments(
    s3_store: Store, small_chunks: None, open_session: OpenSession, s3_keys: Callable[[], set[str]]
) -> None:
    session = open_session(6 * MIB)
    for _ in range(3):
        session = sessions.receive(session, chunk_of(some_bytes(2 * MIB)))
    assert s3_keys() == {f"media/{session.object_name}"}


@pytest.mark.parametrize(
    ("size", "error"),
    [
        pytest.param(0, EmptyChunk, id="empty"),
        pytest.param(512, ChunkTooSmall, id="too-small"),
        pytest.param(1500, ChunkNotMultiple, id="no-multiple"),
        pytest.param(4097, ChunkTooLarge, id="too-large"),
        pytest.param(3500, ChunkBeyondFile, id="beyond-the-file"),
    ],
)
def test_refused_chunk_changes_nothing(
    file_store: Store,
    uploads_settings: Callable[..., None],
    open_session: OpenSession,
    size: int,
    error: type[UploadError],
) -> None:
    uploads_settings(MIN_CHUNK_SIZE=1024, CHUNK_MULTIPLE=512, MAX_CHUNK_SIZE=4096)
    session = sessions.receive(open_session(4000), chunk_of(some_bytes(1024)))
    before = state_of(session)
    with pytest.raises(error):
        sessions.receive(session, chunk_of(some_bytes(size)))
    assert state_of(session) == before
    assert sessions.receive(session, chunk_of(some_bytes(2976))).state == "completed"


def test_truncated_chunk_changes_nothing(store: Store, open_session: OpenSession) -> None:
    data = some_bytes(21 * MIB)

    def cut() -> Iterator[bytes]:
        yield data[: 12 * MIB]
        raise IncompleteBody(received=12 * MIB, declared=21 * MIB)

    session = open_session(len(data))
    before = state_of(session)
    with pytest.raises(IncompleteBody):
        sessions.receive(session, Chunk(cut(), at_most=len(data)))
    assert state_of(session) == before
    session = sessions.receive(session, chunk_of(data))
    assert b"".join(store.read(session.object_name)) == data


def test_each_chunk_extends_the_expiry(file_store: Store, small_chunks: None, open_session: OpenSession) -> None:
    session = open_session(2)
    UploadSession.objects.update(expires_at=timezone.now() + timedelta(seconds=60))
    session.refresh_from_db()
    session = sessions.receive(session, chunk_of(b"a"))
    assert session.expires_at > timezone.now() + timedelta(hours=11)


def test_expired_and_aborted_sessions_refuse_chunks(file_store: Store, open_session: OpenSession) -> None:
    session = open_session()
    UploadSession.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    session.refresh_from_db()
    with pytest.raises(SessionExpired):
        sessions.receive(session, chunk_of(b"a" * 100))
    sessions.abort(session)
    with pytest.raises(SessionAborted):
        sessions.receive(session, chunk_of(b"a" * 100))


def test_active_writer_excludes_other_requests(
    file_store: Store, small_chunks: None, open_session: OpenSession
) -> None:
    session = open_session(4)

    def slow() -> Iterator[bytes]:
        yield b"ab"
        with pytest.raises(SessionBusy):
            sessions.receive(UploadSession.objects.get(pk=session.pk), chunk_of(b"xxxx"))
        yield b"cd"

    done = sessions.receive(session, Chunk(slow()))
    assert b"".join(file_store.read(done.object_name)) == b"abcd"


def test_writer_without_lease_cannot_commit(
    store: Store, small_chunks: None, open_session: OpenSession, uploads_settings: Callable[..., None]
) -> None:
    session = open_session(4)

    def dies_meanwhile() -> Iterator[bytes]:
        yield b"zz"
        UploadSession.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        newcomer = sessions.receive(UploadSession.objects.get(pk=session.pk), chunk_of(b"ab"))
        assert newcomer.bytes_stored == 2
        uploads_settings(LEASE_DURATION=timedelta(microseconds=1))  # The lease ends by the old writer's clock, too.
        yield b"zz"

    with pytest.raises(LeaseLost):
        sessions.receive(session, Chunk(dies_meanwhile()))
    uploads_settings(LEASE_DURATION=timedelta(seconds=20))
    session = sessions.receive(UploadSession.objects.get(pk=session.pk), chunk_of(b"cd"))
    assert b"".join(store.read(session.object_name)) == b"abcd"


def test_stale_row_accepts_no_chunk(store: Store, small_chunks: None, open_session: OpenSession) -> None:
    session = open_session(4)
    stale: list[UploadSession] = []

    def meanwhile() -> Iterator[bytes]:
        stale.append(UploadSession.objects.get(pk=session.pk))
        yield b"ab"

    sessions.receive(session, Chunk(meanwhile()))
    with pytest.raises(SessionBusy):
        sessions.receive(stale[0], chunk_of(b"zz"))
    done = sessions.receive(UploadSession.objects.get(pk=session.pk), chunk_of(b"cd"))
    assert b"".join(store.read(done.object_name)) == b"abcd"


def test_failing_signal_receiver_does_no_harm(file_store: Store, small_chunks: None, open_session: OpenSession) -> None:
    def fails(**_: Any) -> None:
        msg = "a mistake of the portal's"
        raise RuntimeError(msg)

    reported = (signals.session_created, signals.chunk_stored, signals.session_completed)
    for signal in reported:
        signal.connect(fails)
    try:
        session = open_session(2)
        for byte in (b"a", b"b"):
            session = sessions.receive(session, chunk_of(byte))
    finally:
        for signal in reported:
            signal.disconnect(fails)
    assert session.state == UploadSession.objects.get().state == "completed"
    assert b"".join(file_store.read(session.object_name)) == b"ab"


def test_resent_last_chunk_returns_same_file(file_store: Store, small_chunks: None, open_session: OpenSession) -> None:
    first = sessions.receive(open_session(3), chunk_of(b"abc"))
    again = sessions.receive(UploadSession.objects.get(pk=first.pk), chunk_of(b"abc"))
    assert again.result == first.result


@pytest.mark.parametrize("parts", [1, 5])
def test_query_count_is_independent_of_parts(
    file_store: Store,
    open_session: OpenSession,
    django_assert_max_num_queries: Any,
    parts: int,
) -> None:
    session = open_session(110 * MIB)
    session = sessions.receive(session, Chunk(iter([bytes(10 * MIB)])))
    size = parts * 10 * MIB
    with django_assert_max_num_queries(5):
        sessions.receive(session, Chunk(iter([bytes(size)]), at_most=size))


def test_empty_file_completes_after_a_lost_write(proxy: Proxy, uploader: Uploader) -> None:
    """The empty part may still arrive from the first attempt, so it is dirty."""
    session = uploader.create(0)
    proxy.inject("UploadPart", lose_answer)
    assert uploader.send_raw(session, b"").status_code == 503
    answer = uploader.send_raw(session, b"")
    assert answer.status_code == 201, answer.content
    assert uploader.download(answer) == b""


def test_numbered_empty_file_completes(store: Store, uploader: Uploader) -> None:
    session = uploader.create(0)
    answer = uploader.send_raw({"location": f"{session['location']}&upload=true&chunkNumber=1"}, b"")
    assert answer.status_code == 200, answer.content
    answer = uploader.api.post(f"{session['location']}&finalize=true")
    assert answer.status_code == 201, answer.content
    assert uploader.download(answer) == b""
