from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from devstack import weed
from portal.destination import PortalDestination
from portal.models import File
from tests.data import MIB
from tests.helpers import Uploader, chunk_of
from tests.proxy import Answer, Call, proxied
from uploads import signals
from uploads._internal import sessions
from uploads._internal.stores.base import Store
from uploads.destinations import PublishedFile
from uploads.exceptions import CompletionFailed, Forbidden, SessionClosed
from uploads.models import State, UploadSession

OpenSession = Callable[..., UploadSession]
pytestmark = pytest.mark.usefixtures("small_chunks")


class MovedOut(PortalDestination):
    """Destination whose publication fails temporarily."""

    def publish(self, session: UploadSession) -> PublishedFile:
        msg = "database of files is down"
        raise RuntimeError(msg)


class Vetoes(PortalDestination):
    def publish(self, session: UploadSession) -> PublishedFile:
        reason = "The folder is closed."
        raise Forbidden(reason)


def use(uploads_settings: Callable[..., None], destination: type) -> None:
    uploads_settings(DESTINATION=f"{destination.__module__}.{destination.__qualname__}")


def test_crc32_of_the_file_is_kept(store: Store, open_session: OpenSession) -> None:
    session = open_session(9)
    for block in (b"123", b"456", b"789"):
        session = sessions.receive(session, chunk_of(block))
    assert session.crc32 == 0xCBF43926
    assert File.objects.get().crc32 == 0xCBF43926


def test_encrypted_session_stores_an_encrypted_object(s3_store: Store, open_session: OpenSession) -> None:
    session = sessions.receive(open_session(3, encrypted=True), chunk_of(b"abc"))
    stored = s3_store.stat(session.object_name)
    assert stored
    assert stored.encryption == "AES256"


def test_unencrypted_object_fails_an_encrypted_session(s3_store: Store, open_session: OpenSession) -> None:
    session = open_session(10 * MIB + 3)
    sessions.receive(session, chunk_of(bytes(10 * MIB)))
    UploadSession.objects.update(encrypted=True)  # As if the store had ignored the requested encryption.
    session = sessions.receive(UploadSession.objects.get(), chunk_of(b"abc"))
    assert session.state == State.FAILED
    assert "not encrypted" in session.failure
    assert not File.objects.exists()
    with pytest.raises(CompletionFailed, match="not encrypted"):
        sessions.receive(session, chunk_of(b"abc"))


def test_failed_publication_is_retried_later(
    store: Store, open_session: OpenSession, uploads_settings: Callable[..., None]
) -> None:
    use(uploads_settings, MovedOut)
    session = sessions.receive(open_session(3), chunk_of(b"abc"))
    assert session.state == State.COMPLETING
    assert session.retry_at is not None
    assert session.retry_at > timezone.now()
    assert sessions.complete_due(limit=10) == 0

    use(uploads_settings, PortalDestination)
    UploadSession.objects.update(retry_at=timezone.now() - timedelta(seconds=1))
    assert sessions.complete_due(limit=10) == 1
    assert b"".join(store.read(str(File.objects.get().content.name))) == b"abc"
    assert UploadSession.objects.get().state == State.COMPLETED


def test_operator_can_retry_after_attempts_are_exhausted(
    file_store: Store, open_session: OpenSession, uploads_settings: Callable[..., None]
) -> None:
    uploads_settings(COMPLETION_ATTEMPTS=2)
    use(uploads_settings, MovedOut)
    session = sessions.receive(open_session(3), chunk_of(b"abc"))
    assert sessions.complete(session).state == State.COMPLETING  # A client's request counts no attempt.
    UploadSession.objects.update(retry_at=None)
    session = sessions.complete(UploadSession.objects.get())
    assert session.state == State.FAILED
    assert session.failure == "The portal could not take the file over."

    use(uploads_settings, PortalDestination)
    assert sessions.retry(UploadSession.objects.get()).state == State.COMPLETED


def test_veto_at_publication_fails_the_session(
    file_store: Store, open_session: OpenSession, uploads_settings: Callable[..., None]
) -> None:
    use(uploads_settings, Vetoes)
    session = sessions.receive(open_session(3), chunk_of(b"abc"))
    assert (session.state, session.failure) == (State.FAILED, "The folder is closed.")


def test_completed_session_cannot_be_aborted(file_store: Store, open_session: OpenSession) -> None:
    session = sessions.receive(open_session(3), chunk_of(b"abc"))
    with pytest.raises(SessionClosed):
        sessions.abort(session)


def test_signals_follow_the_session(file_store: Store, open_session: OpenSession) -> None:
    reported: list[str] = []

    def listen(name: str) -> Callable[..., None]:
        def receiver(session: UploadSession, **_: Any) -> None:
            reported.append(name)

        getattr(signals, name).connect(receiver, weak=False, dispatch_uid=name)
        return receiver

    names = ["session_created", "chunk_stored", "session_completed", "session_aborted"]
    for name in names:
        listen(name)
    try:
        sessions.receive(open_session(3), chunk_of(b"abc"))
        sessions.abort(open_session(3))
    finally:
        for name in names:
            getattr(signals, name).disconnect(dispatch_uid=name)
    assert reported == ["session_created", "chunk_stored", "session_completed", "session_created", "session_aborted"]


def test_slow_store_does_not_delay_the_response(
    s3: weed.Weed,
    s3_storage: dict[str, Any],
    use_storage: Callable[..., Any],
    uploads_settings: Callable[..., None],
    uploader: Uploader,
) -> None:
    """Answer 202 within the budget; a later request returns the file."""
    uploads_settings(COMPLETION_BUDGET=timedelta(milliseconds=50))
    go_on = threading.Event()

    def wait(call: Call) -> Answer:
        answer = call.forward()
        go_on.wait(30)
        return answer

    with proxied(s3.endpoint) as proxy:
        s3_storage["OPTIONS"]["endpoint_url"] = proxy.endpoint
        use_storage(s3_storage)
        session = uploader.create(3)
        proxy.inject("CompleteMultipartUpload", wait)
        answer = uploader.send(session, b"abc")
        assert (answer.status_code, answer.json()["data"]["state"]) == (202, "completing")
        assert int(answer["Retry-After"]) > 0
        go_on.set()
        uploads_settings(COMPLETION_BUDGET=timedelta(seconds=30))
        # Requests of clients leave the completion to the task, which is due immediately.
        assert [uploader.send(session, b"").status_code for _ in range(3)] == [202] * 3
        assert sessions.complete_due(limit=10) == 1
        finished = uploader.send(session, b"")
        assert finished.status_code == 201
        assert uploader.download(finished) == b"abc"


def test_request_completes_session_without_a_task(
    file_store: Store, uploader: Uploader, open_session: OpenSession
) -> None:
    session = uploader.create(3)
    assert uploader.send(session, b"abc").status_code == 201
    long_ago = timezone.now() - timedelta(minutes=2)
    UploadSession.objects.update(state=State.COMPLETING, file_id="", left_to_task=True, retry_at=long_ago)
    File.objects.all().delete()
    assert uploader.send(session, b"").status_code == 201


class SoftTimeLimitExceeded(Exception):
    """Stand-in for Celery's exception, which is raised at any point of a task."""


class Interrupted(PortalDestination):
    def publish(self, session: UploadSession) -> PublishedFile:
        raise SoftTimeLimitExceeded


class InterruptedLater(Interrupted):
    """Release the lease before the interruption, in a transaction that is rolled back."""

    def publish(self, session: UploadSession) -> PublishedFile:
        session.change(held=False, failure="")
        raise SoftTimeLimitExceeded


@pytest.mark.parametrize("interrupted", [Interrupted, InterruptedLater])
def test_soft_time_limit_does_not_fail_sessions(
    file_store: Store, open_session: OpenSession, uploads_settings: Callable[..., None], interrupted: type
) -> None:
    use(uploads_settings, MovedOut)
    session = sessions.receive(open_session(3), chunk_of(b"abc"))
    use(uploads_settings, interrupted)
    before = UploadSession.objects.get().attempts
    for _ in range(12):
        UploadSession.objects.update(retry_at=None)
        with pytest.raises(SoftTimeLimitExceeded):
            sessions.complete_due(limit=10)
    after = UploadSession.objects.get()
    assert (after.state, after.attempts, after.lease_until) == (State.COMPLETING, before, None)
    use(uploads_settings, PortalDestination)
    assert sessions.complete_due(limit=10) == 1
    session.refresh_from_db()
    assert session.state == State.COMPLETED


def test_session_history_is_kept(file_store: Store, open_session: OpenSession, uploads_settings: Any) -> None:
    use(uploads_settings, Vetoes)
    session = sessions.receive(open_session(3), chunk_of(b"abc"))
    use(uploads_settings, PortalDestination)
    sessions.retry(session, who="an operator")
    assert [(move.after, move.why, move.who) for move in session.moves.all()] == [
        ("completing", "the last byte is stored", ""),
        ("failed", "The folder is closed.", ""),
        ("completing", "retried", "an operator"),
        ("completed", "verified and published", ""),
    ]
