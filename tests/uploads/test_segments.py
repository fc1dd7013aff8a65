"""Files of more parts than a multipart upload has, with limits so small that some megabytes are beyond them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from tests.axes import STORES, axes
from tests.data import MIB, some_bytes
from tests.helpers import Uploader, finalize
from tests.proxy import Action, Proxy, cut_before, lose_answer, refuse, with_code
from uploads import parts, sessions
from uploads.exceptions import ChunkTooSmall, IncompleteBody, StoreUnavailable
from uploads.models import State, UploadSession
from uploads.sessions import Chunk, Rules
from uploads.stores import get_store
from uploads.stores.base import Store
from uploads.transfer.places import composes
from uploads.transfer.transactions import durable

OpenSession = Callable[..., UploadSession]
Change = Callable[..., None]
TOTAL = 26 * MIB + 5
DATA = some_bytes(TOTAL)
ATOMIC, PROGRESSIVE = Rules(), Rules(progressive=True)
RULES = {"atomic": ATOMIC, "progressive": PROGRESSIVE}
SIZES = {"one-chunk": TOTAL, "12-MiB": 12 * MIB, "5-MiB": 5 * MIB, "2-MiB": 2 * MIB}
"""Of chunks."""
FILE_SIZES = {"known": TOTAL, "unknown": None}
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, uploads_settings: Change) -> None:
    """Segments of two parts of 5 MiB; a copy is as many bytes."""
    monkeypatch.setattr(parts, "limits", parts.Limits(planned_parts=4, most_parts=2, copy_size=10 * MIB))
    uploads_settings(PART_SIZE=5 * MIB, MIN_CHUNK_SIZE=1, CHUNK_MULTIPLE=1)


def row(session: UploadSession) -> UploadSession:
    found: UploadSession = UploadSession.objects.get(pk=session.pk)
    return found


def send(
    session: UploadSession,
    size: int,
    *,
    rules: Rules = ATOMIC,
    cut: int | None = None,
    end: int = TOTAL,
    told_from: int = TOTAL,
    chunked: bool = False,
) -> UploadSession:
    """Send the next bytes of the file, saying that it ends at ``end``, or how large it is from some byte on."""
    start = session.bytes_stored
    sent = DATA[start : min(start + size, end)]

    def blocks() -> Iterator[bytes]:
        yield from (sent[at : min(at + MIB, cut or len(sent))] for at in range(0, cut or len(sent), MIB))
        if cut is not None:
            raise IncompleteBody(received=cut, declared=len(sent))

    chunk = Chunk(
        blocks(),
        at_most=None if chunked else len(sent),
        start=start,
        rules=rules,
        is_last=start + len(sent) == end,
        total=TOTAL if start >= told_from else None,
    )
    return sessions.receive(session, chunk)


def send_all(session: UploadSession, size: int, **options: Any) -> UploadSession:
    while session.state == State.OPEN:
        session = send(session, size, **options)
    return session


def send_most(session: UploadSession) -> UploadSession:
    """Send all but the last 5 MiB, or less."""
    while session.bytes_stored < TOTAL - 5 * MIB:
        session = send(session, 5 * MIB)
    return session


def content(session: UploadSession) -> bytes:
    return b"".join(get_store("default").read(row(session).object_name))


@axes(store=STORES, rules=RULES, size=SIZES)
def test_a_file_of_many_segments(
    store: Store, open_session: OpenSession, s3_keys: Callable[[], set[str]], rules: Rules, size: int
) -> None:
    session = open_session(TOTAL)
    done = send_all(session, size, rules=rules)
    assert done.state == State.COMPLETED, done.failure
    assert content(session) == DATA
    assert set(session.parts.values_list("segment", flat=True)) >= {0, 1, 2}
    assert max(session.parts.values_list("size", flat=True)) <= 10 * MIB
    if store.limits_parts:
        assert done.bytes_composed == TOTAL
        assert s3_keys() == {f"media/{done.object_name}"}


def test_no_byte_is_written_more_than_twice(proxy: Proxy, open_session: OpenSession) -> None:
    """Once into a part, and once by the store itself."""
    session = open_session(TOTAL)
    proxy.headers.clear()  # of what tried the store out
    send_all(session, 5 * MIB)
    written = sum(
        int(headers["content-length"]) for kind, headers in proxy.headers if kind in ("UploadPart", "PutObject")
    )
    assert written <= 1.1 * TOTAL
    assert proxy.calls["UploadPartCopy"] >= TOTAL // (10 * MIB)


@axes(store=STORES, rules=RULES, cut={"1": MIB, "11": 11 * MIB, "22": 22 * MIB})
def test_a_chunk_over_several_segments_is_cut(store: Store, open_session: OpenSession, rules: Rules, cut: int) -> None:
    session = open_session(TOTAL)
    with pytest.raises(IncompleteBody):
        send(session, TOTAL, rules=rules, cut=cut)
    assert row(session).bytes_stored == (cut if rules.progressive else 0)
    assert send_all(row(session), 12 * MIB).state == State.COMPLETED
    assert content(session) == DATA


@axes(rules=RULES)
def test_a_picky_store_has_no_segments(
    proxy: Proxy, open_session: OpenSession, uploads_settings: Change, rules: Rules
) -> None:
    uploads_settings(STRAY_PARTS=False)
    proxy.refuses_strays = True
    session = send(open_session(TOTAL), 5 * MIB, rules=rules)
    assert not session.segmented
    with pytest.raises(IncompleteBody):
        send(row(session), TOTAL, rules=rules, cut=18 * MIB)
    done = send_all(row(session), 12 * MIB, rules=rules)
    assert done.state == State.COMPLETED, done.failure
    assert content(session) == DATA


@axes(
    kind={kind: kind for kind in ("CompleteMultipartUpload", "UploadPartCopy", "CreateMultipartUpload", "HeadObject")},
    action={action.__name__: action for action in (refuse, cut_before, lose_answer)},
    skip={"0": 0, "1": 1},
    size=FILE_SIZES,
)
def test_composing_goes_on_where_it_stopped(
    proxy: Proxy,
    open_session: OpenSession,
    s3_keys: Callable[[], set[str]],
    kind: str,
    action: Action,
    skip: int,
    size: int | None,
) -> None:
    session = open_session(size)
    session = send_most(session)
    proxy.inject(kind, action, skip=skip)
    try:
        session = send(session, 5 * MIB)
    except StoreUnavailable:  # It could not begin the last segment.
        session = send(row(session), 5 * MIB)
    copied = proxy.calls["UploadPartCopy"]
    for _ in range(5):
        if session.state == State.COMPLETED:
            break
        UploadSession.objects.update(retry_at=None)
        session = sessions.complete(row(session))
    assert session.state == State.COMPLETED, session.failure
    assert content(session) == DATA
    if kind == "UploadPartCopy" and action is refuse and skip == 1:
        assert proxy.calls["UploadPartCopy"] < 2 * copied + TOTAL // (5 * MIB)
    proxy.heal()
    sessions.expire_stale(batch_size=10)
    assert s3_keys() == {f"media/{session.object_name}"}


@pytest.mark.parametrize("heads", [1, 2])
def test_empty_file_is_composed(
    proxy: Proxy,
    open_session: OpenSession,
    s3_keys: Callable[[], set[str]],
    monkeypatch: pytest.MonkeyPatch,
    heads: int,
) -> None:
    """Its only part number was used up by an answer that was lost."""
    monkeypatch.setattr(parts, "limits", parts.Limits(planned_parts=1, most_parts=1, copy_size=10 * MIB))
    session = open_session(0)
    assert composes(get_store("default"))  # It is tried out before the faults come.
    proxy.inject("UploadPart", lose_answer)
    with pytest.raises(StoreUnavailable):
        send(row(session), 0, end=0)
    # The file is made, but neither Complete nor HEAD tells.
    proxy.inject("CompleteMultipartUpload", lose_answer, skip=1)
    proxy.inject("HeadObject", refuse, skip=1, times=heads)
    session = send(row(session), 0, end=0)
    for _ in range(4):
        UploadSession.objects.update(retry_at=None)
        session = sessions.complete(row(session)) if session.state == State.COMPLETING else session
    assert (session.state, session.segmented) == (State.COMPLETED, True), session.failure
    assert content(session) == b""
    assert s3_keys() == {f"media/{session.object_name}"}


@axes(size=FILE_SIZES)
def test_an_upload_that_is_gone_is_composed_anew(proxy: Proxy, open_session: OpenSession, size: int | None) -> None:
    session = open_session(size)
    session = send_most(session)
    proxy.inject("CompleteMultipartUpload", with_code(503, "SlowDown"), skip=3, times=1)
    session = send(session, 5 * MIB)
    assert session.state == State.COMPLETING
    upload = row(session)
    get_store("default").client.abort_multipart_upload(  # type: ignore[attr-defined]
        Bucket="uploads", Key=f"media/{upload.object_name}", UploadId=upload.upload_id
    )
    for _ in range(3):
        UploadSession.objects.update(retry_at=None)
        session = sessions.complete(row(session))
    assert session.state == State.COMPLETED, session.failure
    assert content(session) == DATA


@axes(end={"abort": sessions.abort, "expire": sessions.expire_now}, size=FILE_SIZES)
def test_nothing_of_an_ended_session_is_left(
    s3_store: Store,
    open_session: OpenSession,
    s3_keys: Callable[[], set[str]],
    s3_uploads: Callable[[], set[str]],
    end: Callable[[UploadSession], UploadSession],
    size: int | None,
) -> None:
    session = send(open_session(size), 16 * MIB)
    end(session)
    assert (s3_keys(), s3_uploads()) == (set(), set())


@axes(size=FILE_SIZES)
def test_the_audit_knows_segments(
    s3_store: Store, open_session: OpenSession, uploads_settings: Change, proxy: Proxy, size: int | None
) -> None:
    uploads_settings(AUDIT_GRACE=timedelta(microseconds=1), OBJECT_PREFIX="segments")
    session = open_session(size)
    session = send_most(session)
    found = sessions.audit(fix=True)
    assert (found.orphans, found.lost) == (0, [])
    proxy.inject("UploadPartCopy", refuse, times=100)
    session = send(session, 5 * MIB)
    assert session.state == State.COMPLETING
    found = sessions.audit(fix=True)
    assert (found.orphans, found.lost) == (0, [])
    proxy.heal()
    UploadSession.objects.update(retry_at=None)
    assert sessions.complete(row(session)).state == State.COMPLETED
    assert content(session) == DATA


def send_numbered(session: UploadSession, number: int, each: int) -> UploadSession:
    chunk = DATA[(number - 1) * each : number * each]
    return sessions.receive_numbered(session, Chunk(iter([chunk]), at_most=len(chunk)), number)


@axes(
    store=STORES,
    order={order: order for order in ("first first", "last first", "twice")},
    each={f"{each}-MiB": each * MIB for each in (17, 9, 6, 5, 2)},
)
def test_numbered_chunks_of_such_a_file(
    store: Store, open_session: OpenSession, s3_keys: Callable[[], set[str]], each: int, order: str
) -> None:
    """Their parts do not grow with the file either; what comes before the first chunk waits as pieces."""
    session = open_session(TOTAL)
    numbers = list(range(1, -(-TOTAL // each) + 1))
    for number in {"first first": numbers, "last first": numbers[::-1], "twice": numbers[:3] + numbers}[order]:
        send_numbered(row(session), number, each)
    done = finalize(row(session))
    assert done.state == State.COMPLETED, done.failure
    assert content(session) == DATA
    stored = list(session.parts.all())
    assert max(part.size for part in stored) <= 10 * MIB
    assert len({part.segment for part in stored}) > 1
    if store.limits_parts:
        assert s3_keys() == {f"media/{done.object_name}"}


def test_a_chunk_too_small_for_a_segment_of_its_own_is_refused(s3_store: Store, open_session: OpenSession) -> None:
    session = open_session(16 * MIB)
    for number, chunk in ((1, DATA[: 6 * MIB]), (2, DATA[:MIB]), (3, DATA[: 9 * MIB])):
        session = sessions.receive_numbered(row(session), Chunk(iter([chunk]), at_most=len(chunk)), number)
    with pytest.raises(ChunkTooSmall):
        finalize(session)
    assert row(session).state == State.OPEN


@axes(store=STORES, size=SIZES, end={"all": TOTAL, "20-MiB": 20 * MIB, "10-MiB": 10 * MIB, "3-MiB": 3 * MIB})
def test_a_file_whose_size_is_told_at_its_end(
    store: Store, open_session: OpenSession, s3_keys: Callable[[], set[str]], size: int, end: int
) -> None:
    """It begins as one upload, which becomes the first segment if that turns out to be too small."""
    session = send_all(open_session(None), size, rules=PROGRESSIVE, end=end)
    assert session.state == State.COMPLETED, session.failure
    assert content(session) == DATA[:end]
    if store.limits_parts:
        assert session.segmented is (end > 10 * MIB)
        assert s3_keys() == {f"media/{session.object_name}"}


def test_a_store_that_cannot_compose_is_told_the_largest_file(
    proxy: Proxy, uploader: Uploader, uploads_settings: Change
) -> None:
    """Its parts grow with the file, as far as there is memory for them."""
    uploads_settings(MAX_BUFFER_MEMORY=12 * MIB)
    proxy.inject("UploadPartCopy", with_code(501, "NotImplemented"), times=100)
    answer = uploader.api.post(uploader.url, {"FileName": "a", "FileSize": 33 * MIB}, format="json")
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "file_too_large")
    assert answer.json()["error"]["details"]["maximum"] == 24 * MIB
    session = uploader.create(20 * MIB)
    assert not UploadSession.objects.get(pk=session["id"]).segmented


def test_a_session_that_cannot_be_saved_leaves_no_segment(
    s3_store: Store, open_session: OpenSession, s3_uploads: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(UploadSession, "save", fails)
    with pytest.raises(StoreUnavailable):
        open_session(TOTAL)
    assert s3_uploads() == set()


def test_a_commit_that_failed_is_not_taken_for_that_of_another_segment(
    store: Store, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(TOTAL)
    for _ in range(2):
        session = send(session, 5 * MIB)

    @contextmanager
    def failing() -> Iterator[None]:
        with durable():
            yield
            raise OperationalError

    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["uploads.sessions.receive"], "durable", failing)
        with pytest.raises(OperationalError):
            send(row(session), 5 * MIB)
    assert row(session).bytes_stored == 10 * MIB
    assert send_all(row(session), 5 * MIB).state == State.COMPLETED
    assert content(session) == DATA


@axes(
    store=STORES,
    rules=RULES,
    size={"one-chunk": TOTAL, "12-MiB": 12 * MIB, "6-MiB": 6 * MIB, "2-MiB": 2 * MIB},
    told={"at-once": 0, "12-MiB": 12 * MIB},
    framing={"content-length": "content-length", "chunked": "chunked"},
)
def test_a_size_that_is_told_late(
    store: Store, open_session: OpenSession, rules: Rules, size: int, told: int, framing: str
) -> None:
    """Also one that is more than one upload takes, with the first byte or in the middle of the file."""
    session = send_all(open_session(None), size, rules=rules, told_from=told, chunked=framing == "chunked")
    assert session.state == State.COMPLETED, session.failure
    assert content(session) == DATA
