"""Files with more parts than one multipart upload allows.

The tests lower the limits, so that a few megabytes exceed them.
"""

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
from uploads._internal import parts, sessions
from uploads._internal.http.exceptions import IncompleteBody
from uploads._internal.sessions import Chunk, Rules
from uploads._internal.stores import get_store
from uploads._internal.stores.base import Store
from uploads._internal.transfer.transactions import durable
from uploads.exceptions import FileTooLarge, StoreUnavailable
from uploads.models import State, UploadSession

OpenSession = Callable[..., UploadSession]
Change = Callable[..., None]
TOTAL = 26 * MIB + 5
DATA = some_bytes(TOTAL)
ATOMIC, PROGRESSIVE = Rules(), Rules(progressive=True)
RULES = {"atomic": ATOMIC, "progressive": PROGRESSIVE}
SIZES = {"one-chunk": TOTAL, "12-MiB": 12 * MIB, "5-MiB": 5 * MIB, "2-MiB": 2 * MIB}
"""Chunk sizes."""
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, uploads_settings: Change) -> None:
    """Lower the limits: four parts make a segment, which takes two copies."""
    monkeypatch.setattr(parts, "MAX_COPY_SIZE", 12 * MIB)
    uploads_settings(PART_SIZE=5 * MIB, STORES={"default": {"MAX_PARTS": 4}}, MIN_CHUNK_SIZE=1, CHUNK_MULTIPLE=1)


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
    """Send the next bytes of the file, which ends at ``end``.

    Chunks that start at ``told_from`` or later declare the total size.
    """
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
    """Send chunks until at most 5 MiB remain."""
    while session.bytes_stored < TOTAL - 5 * MIB:
        session = send(session, 5 * MIB)
    return session


def content(session: UploadSession) -> bytes:
    return b"".join(get_store("default").read(row(session).object_name))


@axes(store=STORES, rules=RULES, size=SIZES)
def test_segments_form_the_file(
    store: Store, open_session: OpenSession, s3_keys: Callable[[], set[str]], rules: Rules, size: int
) -> None:
    session = open_session(TOTAL)
    done = send_all(session, size, rules=rules)
    assert done.state == State.COMPLETED, done.failure
    assert content(session) == DATA
    if store.limits_parts:
        assert session.segments.count() == 2
        assert done.bytes_composed == TOTAL
        assert s3_keys() == {f"media/{done.object_name}"}


def test_no_byte_is_written_more_than_twice(proxy: Proxy, open_session: OpenSession) -> None:
    """Each byte is uploaded once and copied once by the store."""
    session = open_session(TOTAL)
    assert get_store("default").composes
    proxy.headers.clear()  # Ignore the requests that probed the store.
    proxy.calls.clear()
    send_all(session, 5 * MIB)
    written = sum(
        int(headers["content-length"]) for kind, headers in proxy.headers if kind in ("UploadPart", "PutObject")
    )
    assert written <= 1.1 * TOTAL
    assert proxy.calls["UploadPartCopy"] == -(-TOTAL // (10 * MIB))


@axes(store=STORES, rules=RULES, cut={"1": MIB, "11": 11 * MIB, "22": 22 * MIB})
def test_truncated_chunk_across_segments_is_resumed(
    store: Store, open_session: OpenSession, rules: Rules, cut: int
) -> None:
    session = open_session(TOTAL)
    with pytest.raises(IncompleteBody):
        send(session, TOTAL, rules=rules, cut=cut)
    assert row(session).bytes_stored == (cut if rules.progressive else 0)
    assert send_all(row(session), 12 * MIB).state == State.COMPLETED
    assert content(session) == DATA


@axes(
    kind={kind: kind for kind in ("CompleteMultipartUpload", "UploadPartCopy", "CreateMultipartUpload", "HeadObject")},
    action={action.__name__: action for action in (refuse, cut_before, lose_answer)},
    skip={"0": 0, "1": 1},
)
def test_composing_resumes_after_a_failure(
    proxy: Proxy,
    open_session: OpenSession,
    s3_keys: Callable[[], set[str]],
    kind: str,
    action: Action,
    skip: int,
) -> None:
    session = send_most(open_session(TOTAL))
    proxy.inject(kind, action, skip=skip)
    try:
        session = send(session, 5 * MIB)
    except StoreUnavailable:  # The store could not begin the last segment.
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


def test_missing_upload_is_composed_again(proxy: Proxy, open_session: OpenSession) -> None:
    session = send_most(open_session(TOTAL))
    proxy.inject("CompleteMultipartUpload", with_code(503, "SlowDown"), skip=2, times=1)
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


@axes(end={"abort": sessions.abort, "expire": sessions.expire_now})
def test_ended_session_leaves_no_objects(
    s3_store: Store,
    open_session: OpenSession,
    s3_keys: Callable[[], set[str]],
    s3_uploads: Callable[[], set[str]],
    end: Callable[[UploadSession], UploadSession],
) -> None:
    session = send(open_session(TOTAL), 16 * MIB)
    end(session)
    assert (s3_keys(), s3_uploads()) == (set(), set())


def test_audit_recognizes_segments(
    s3_store: Store, open_session: OpenSession, uploads_settings: Change, proxy: Proxy
) -> None:
    uploads_settings(AUDIT_GRACE=timedelta(microseconds=1), OBJECT_PREFIX="segments")
    session = send_most(open_session(TOTAL))
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
def test_numbered_chunks_fill_segments(
    store: Store, open_session: OpenSession, s3_keys: Callable[[], set[str]], each: int, order: str
) -> None:
    session = open_session(TOTAL)
    numbers = list(range(1, -(-TOTAL // each) + 1))
    for number in {"first first": numbers, "last first": numbers[::-1], "twice": numbers[:3] + numbers}[order]:
        send_numbered(row(session), number, each)
    done = finalize(row(session))
    assert done.state == State.COMPLETED, done.failure
    assert content(session) == DATA
    if store.limits_parts:
        assert done.is_segmented or each > 6 * MIB
        assert s3_keys() == {f"media/{done.object_name}"}


@axes(store=STORES, size=SIZES, end={"10-MiB": 10 * MIB, "3-MiB": 3 * MIB})
def test_size_declared_with_the_last_byte(store: Store, open_session: OpenSession, size: int, end: int) -> None:
    session = send_all(open_session(None), size, rules=PROGRESSIVE, end=end)
    assert session.state == State.COMPLETED, session.failure
    assert content(session) == DATA[:end]


@axes(rules=RULES, reported={"at-the-end": TOTAL, "in-the-middle": 5 * MIB})
def test_undeclared_size_is_limited_to_one_upload(
    s3_store: Store, open_session: OpenSession, rules: Rules, reported: int
) -> None:
    """The first bytes fix the layout."""
    with pytest.raises(FileTooLarge, match="declare it"):
        send_all(open_session(None), 5 * MIB, rules=rules, told_from=reported)
    assert row(UploadSession.objects.get()).bytes_stored <= 20 * MIB


def test_store_without_copies_limits_file_size(proxy: Proxy, uploader: Uploader, uploads_settings: Change) -> None:
    """Parts grow with the file within the limit of buffer memory."""
    uploads_settings(MAX_BUFFER_MEMORY=12 * MIB)
    proxy.inject("UploadPartCopy", with_code(501, "NotImplemented"), times=100)
    answer = uploader.api.post(uploader.url, {"FileName": "a", "FileSize": 33 * MIB}, format="json")
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "file_too_large")
    assert answer.json()["error"]["details"]["maximum"] == 24 * MIB
    session = uploader.create(24 * MIB)
    assert uploader.send(session, bytes(24 * MIB)).status_code == 201
    assert UploadSession.objects.get(pk=session["id"]).part_size == 6 * MIB


def test_failed_commit_across_segments_is_detected(
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
        patched.setattr(sys.modules["uploads._internal.sessions.receive"], "durable", failing)
        with pytest.raises(OperationalError):
            send(row(session), 5 * MIB)
    assert row(session).bytes_stored == 10 * MIB
    assert send_all(row(session), 5 * MIB).state == State.COMPLETED
    assert content(session) == DATA


@axes(
    store=STORES,
    rules=RULES,
    size={"one-chunk": TOTAL, "12-MiB": 12 * MIB, "6-MiB": 6 * MIB, "2-MiB": 2 * MIB},
    framing={"content-length": "content-length", "chunked": "chunked"},
)
def test_size_declared_with_the_first_byte(
    store: Store, open_session: OpenSession, rules: Rules, size: int, framing: str
) -> None:
    session = send_all(open_session(None), size, rules=rules, told_from=0, chunked=framing == "chunked")
    assert session.state == State.COMPLETED, session.failure
    assert content(session) == DATA
