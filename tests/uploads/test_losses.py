"""Test that acknowledged data survives unusual hosts, databases and stores."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction

from devstack import weed
from portal.destination import PortalDestination
from portal.models import File
from tests.data import MIB, some_bytes
from tests.helpers import Chunk, Uploader, finalize, no_memory
from tests.proxy import Answer, Call, Proxy, refuse, with_code
from uploads._internal import doctor, sessions
from uploads._internal.stores import get_store
from uploads._internal.stores.base import Store
from uploads._internal.stores.buffer import Buffer
from uploads._internal.stores.names import fragment_of
from uploads.contrib.health import check_store
from uploads.destinations import Destination, PublishedFile
from uploads.exceptions import StoreUnavailable, TransactionOpen, UploadError
from uploads.models import State, UploadPart, UploadSession

OpenSession = Callable[..., UploadSession]
Change = Callable[..., None]
pytestmark = pytest.mark.django_db


def row(session: UploadSession) -> UploadSession:
    found: UploadSession = UploadSession.objects.get(pk=session.pk)
    return found


def send(session: UploadSession, data: bytes) -> UploadSession:
    return sessions.receive(row(session), Chunk(iter([data]), at_most=len(data)))


def send_numbered(session: UploadSession, number: int, data: bytes) -> UploadSession:
    return sessions.receive_numbered(row(session), Chunk(iter([data]), at_most=len(data)), number)


def content(session: UploadSession) -> bytes:
    return b"".join(get_store("default").read(session.object_name))


def use(uploads_settings: Change, destination: type) -> None:
    uploads_settings(DESTINATION=f"{destination.__module__}.{destination.__qualname__}")


# Hosts


def test_original_parameter_names_survive_middleware(
    file_store: Store, small_chunks: None, uploader: Uploader, settings: Any
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.hosts.middleware.Underscoring"]
    session = uploader.create(6)
    for number, data in ((2, b"cd"), (1, b"ab"), (3, b"ef")):
        url = f"{session['location']}&upload=true&chunkNumber={number}"
        assert uploader.send_raw({"location": url}, data).status_code == 200
    finished = uploader.api.post(f"{session['location']}&finalize=true")
    assert uploader.download(finished) == b"abcdef"


@pytest.mark.parametrize("query", ["chunk_number=2", "chunk=2", "partNumber=2", "chunkNumber="])
def test_unreadable_chunk_number_is_refused(
    file_store: Store, small_chunks: None, uploader: Uploader, query: str
) -> None:
    session = uploader.create(6)
    answer = uploader.send_raw({"location": f"{session['location']}&upload=true&{query}"}, b"ab")
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request")
    assert uploader.state(session)["bytes_uploaded"] == 0


@pytest.mark.django_db(transaction=True)
def test_host_transactions_are_refused(file_store: Store, open_session: OpenSession) -> None:
    session = open_session(2)
    for verb in (lambda: send(session, b"ab"), lambda: sessions.abort(session), lambda: open_session(2)):
        with transaction.atomic(), pytest.raises(TransactionOpen):
            verb()  # type: ignore[no-untyped-call]
    assert UploadSession.objects.values_list("state", "bytes_stored").get() == ("open", 0)


def test_middleware_with_transactions_is_reported(settings: Any) -> None:
    from django.core.checks import run_checks

    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "reversion.middleware.RevisionMiddleware"]
    assert "uploads.W004" in [message.id for message in run_checks(tags=["uploads"])]


@pytest.fixture
def stale_replica(tmp_path: Path) -> Iterator[None]:
    """Configure a replica that never receives the primary's writes."""
    connections.settings["replica"] = connections.settings["default"] | {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(tmp_path / "replica"),
        "OPTIONS": {},
    }
    yield
    connections["replica"].close()
    del connections.settings["replica"], connections["replica"]


def test_decisions_read_from_the_primary_database(
    file_store: Store, small_chunks: None, open_session: OpenSession, settings: Any, stale_replica: None
) -> None:
    settings.DATABASE_ROUTERS = ["tests.hosts.routers.ReadsElsewhere"]
    ordered, numbered, ended = open_session(2), open_session(2), open_session(2)
    for byte in (b"a", b"b"):
        ordered = send(ordered, byte)
    for number in (2, 1):
        send_numbered(numbered, number, str(number).encode())
    assert (content(ordered), content(finalize(row(numbered)))) == (b"ab", b"12")
    assert sessions.abort(row(ended)).state == State.ABORTED
    sessions.expire_stale(batch_size=10)
    assert sessions.audit().lost == []


def test_missing_part_rows_delay_completion(store: Store, open_session: OpenSession) -> None:
    data = some_bytes(30 * MIB)
    session = open_session(len(data))
    for start in (0, 10 * MIB):
        send(session, data[start : start + 10 * MIB])
    hidden = UploadPart.objects.get(offset=0)
    UploadPart.objects.filter(pk=hidden.pk).delete()
    waiting = send(session, data[20 * MIB :])
    assert (waiting.state, File.objects.exists()) == (State.COMPLETING, False)
    hidden.save(force_insert=True)
    UploadSession.objects.update(retry_at=None)
    assert sessions.complete(row(session)).state == State.COMPLETED
    assert content(session) == data


# Temporary failures


def test_memory_shortage_at_finalize_is_temporary(
    file_store: Store, small_chunks: None, open_session: OpenSession, uploads_settings: Change
) -> None:
    session = open_session(4)
    for number in (1, 2):
        send_numbered(session, number, b"ab")
    uploads_settings(MAX_BUFFER_MEMORY=1, BUFFER_WAIT=timedelta(milliseconds=1))
    with no_memory():
        assert finalize(row(session)).state == State.COMPLETING
    UploadSession.objects.update(retry_at=None)
    assert finalize(row(session)).state == State.COMPLETED


@pytest.mark.parametrize("mount_point", [True, False], ids=["empty", "missing"])
def test_unmounted_file_system_is_unavailable(
    file_store: Store, small_chunks: None, uploader: Uploader, tmp_path: Path, *, mount_point: bool
) -> None:
    files = tmp_path / "files"
    stored = uploader.send(uploader.create(3, name="first.bin"), b"abc").json()["data"]["file"]["viewUrl"]
    session = uploader.create(4)
    uploader.send(session, b"ab")
    files.rename(tmp_path / "unmounted")
    if mount_point:
        files.mkdir()
    answers = [
        uploader.send(session, b"cd"),
        uploader.api.post(uploader.url, {"FileName": "a", "FileSize": 1}, format="json"),
        uploader.api.get(session["location"]),
    ]
    assert [answer.status_code for answer in answers] == [503, 200, 200]
    with pytest.raises(StoreUnavailable):
        b"".join(uploader.api.get(stored).streaming_content)
    sessions.expire_stale(batch_size=10)
    with pytest.raises(StoreUnavailable):
        check_store()
    assert not files.exists() or not list(files.iterdir())
    if mount_point:
        files.rmdir()
    (tmp_path / "unmounted").rename(files)
    check_store()
    assert uploader.download(uploader.send(session, b"cd")) == b"abcd"
    assert b"".join(uploader.api.get(stored).streaming_content) == b"abc"


def test_missing_upload_during_completion_is_retried(
    proxy: Proxy, small_chunks: None, open_session: OpenSession
) -> None:
    session = open_session(3)
    proxy.inject("CompleteMultipartUpload", with_code(404, "NoSuchUpload"), times=2)
    assert send(session, b"abc").state == State.COMPLETING
    for state in (State.COMPLETING, State.COMPLETED):
        UploadSession.objects.update(retry_at=None)
        sessions.complete_due(limit=10)
        assert row(session).state == state
    assert content(session) == b"abc"


class Dies(PortalDestination):
    """End the process during publication."""

    def publish(self, session: UploadSession) -> PublishedFile:
        raise SystemExit


def test_completion_that_kills_processes_is_limited(
    file_store: Store, small_chunks: None, open_session: OpenSession, uploads_settings: Change
) -> None:
    uploads_settings(COMPLETION_ATTEMPTS=3)
    use(uploads_settings, Dies)
    session = open_session(2)
    for attempt in range(3):
        UploadSession.objects.update(retry_at=None)
        with pytest.raises(SystemExit):
            sessions.complete(row(session)) if attempt else send(session, b"ab")
    UploadSession.objects.update(retry_at=None)
    ended = sessions.complete(row(session))
    assert (ended.state, "3 attempts" in ended.failure) == (State.FAILED, True)


@pytest.mark.parametrize("numbered", [False, True])
def test_slow_chunk_outlives_the_session_lifetime(
    file_store: Store, small_chunks: None, open_session: OpenSession, uploads_settings: Change, numbered: bool
) -> None:
    uploads_settings(SESSION_LIFETIME=timedelta(seconds=0.9))
    session = open_session(6)

    def slow() -> Iterator[bytes]:
        for byte in (b"a", b"b", b"c", b"d", b"e", b"f"):
            time.sleep(0.3)  # The transfer must outlast the lifetime.
            yield byte
            sessions.require_live(row(session))

    chunk = Chunk(slow())
    if numbered:
        sessions.receive_numbered(session, chunk, 1)
        finalize(row(session))
    else:
        sessions.receive(session, chunk)
    assert content(session) == b"abcdef"


# Leftovers


class ClaimsAll(PortalDestination):
    in_use = Destination.in_use


def test_unreferenced_fragments_are_collected(
    store: Store, small_chunks: None, open_session: OpenSession, uploads_settings: Change
) -> None:
    uploads_settings(AUDIT_GRACE=timedelta(microseconds=1), OBJECT_PREFIX=f"strays-{time.time_ns()}")
    use(uploads_settings, ClaimsAll)
    done, ended = send(open_session(2), b"ab"), send(open_session(2), b"a")
    strays = [fragment_of(session.object_name, session.name_signature) for session in (done, ended)]
    for stray in strays:
        store.put_fragment(stray, Buffer(b"stray"), encrypted=False)
    sessions.abort(row(ended))
    assert store.stat(strays[1]) is None
    assert sessions.audit(fix=True).freed == 1
    assert store.stat(strays[0]) is None
    assert content(done) == b"ab"


def test_failed_release_does_not_block_others(proxy: Proxy, small_chunks: None, open_session: OpenSession) -> None:
    stuck, other = (send(open_session(2), b"a") for _ in range(2))
    proxy.inject("AbortMultipartUpload", refuse, times=2)
    sessions.abort(stuck)
    sessions.abort(other)
    proxy.inject("AbortMultipartUpload", refuse)
    for _ in range(2):
        sessions.expire_stale(batch_size=1)
    assert list(UploadSession.objects.filter(storage_released=True)) == [other]


class Vetoes(PortalDestination):
    def publish(self, session: UploadSession) -> PublishedFile:
        raise UploadError


def test_failed_sessions_expire_later(
    store: Store, small_chunks: None, open_session: OpenSession, uploads_settings: Change
) -> None:
    uploads_settings(SESSION_LIFETIME=timedelta(microseconds=1), FAILED_LIFETIME=timedelta(days=1))
    use(uploads_settings, Vetoes)
    session = open_session(2)
    UploadSession.objects.update(expires_at="2100-01-01T00:00Z")
    assert send(session, b"ab").state == State.FAILED
    assert sessions.expire_stale(batch_size=10) == 0
    UploadSession.objects.update(expires_at="2020-01-01T00:00Z")
    assert sessions.expire_stale(batch_size=10) == 1
    assert (row(session).state, store.stat(session.object_name)) == (State.EXPIRED, None)


def test_doctor_reports_a_versioned_bucket(
    s3: weed.Weed, s3_storage: dict[str, Any], use_storage: Callable[..., Any], s3_client: Any
) -> None:
    bucket = f"versions-{time.time_ns()}"
    s3_client.create_bucket(Bucket=bucket)
    s3_client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    use_storage({**s3_storage, "OPTIONS": s3_storage["OPTIONS"] | {"bucket_name": bucket}})
    assert any("keeps versions" in finding.text for finding in doctor.examine() if not finding.ok)


@pytest.mark.parametrize("call", ["CreateMultipartUpload", "AbortMultipartUpload"])
def test_hanging_store_does_not_block_requests(
    proxy: Proxy, open_session: OpenSession, uploads_settings: Any, call: str
) -> None:
    """Neither creation nor abort may wait; the store's own client would wait longer."""
    session = open_session(20 * MIB)
    if call == "AbortMultipartUpload":
        send(session, bytes(10 * MIB))
    uploads_settings(STORE_TIMEOUT=timedelta(milliseconds=200))
    goes_on = threading.Event()

    def hang(call: Call) -> Answer:
        goes_on.wait(30)
        return call.forward()

    proxy.inject(call, hang, times=1)
    try:
        if call == "CreateMultipartUpload":
            with pytest.raises(StoreUnavailable):
                send(session, bytes(10 * MIB))
        else:
            ended = sessions.abort(row(session))
            assert (ended.state, ended.storage_released) == (State.ABORTED, False)
    finally:
        goes_on.set()
