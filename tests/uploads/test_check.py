"""Test the scan of a file, which comes between verification and publication."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from django.core.management import call_command
from rest_framework.test import APIClient

from devstack.weed import free_ports
from portal.destination import PortalDestination
from portal.models import File
from tests.helpers import Uploader, chunk_of
from uploads import signals
from uploads._internal import sessions
from uploads._internal.stores.base import Store
from uploads._internal.stores.reader import open_object
from uploads.destinations import PublishedFile
from uploads.exceptions import (
    CheckerUnavailable,
    FileRefused,
    FileUncheckable,
    InvalidRequest,
    SessionClosed,
    UploadGone,
)
from uploads.models import CheckResult, State, UploadSession

OpenSession = Callable[..., UploadSession]
pytestmark = pytest.mark.usefixtures("small_chunks", "checking", "not_awaited")

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


class Checks(PortalDestination):
    """Destination that accepts or refuses a file by its content."""

    def check(self, session: UploadSession, file: BinaryIO) -> None:
        content = file.read()
        assert not File.objects.exists()
        if content == b"bad":
            raise FileRefused(reason="it is bad")
        if content == b"zip":
            raise FileUncheckable(reason="it is encrypted")
        if content == b"away":
            raise CheckerUnavailable
        if content == b"bug":
            raise ZeroDivisionError

    def publish(self, session: UploadSession) -> PublishedFile:
        assert session.check_result, "published before the check"
        return super().publish(session)


@pytest.fixture
def checking(uploads_settings: Callable[..., None]) -> None:
    uploads_settings(DESTINATION=f"{__name__}.Checks", CHECK_WAIT=timedelta(milliseconds=20))


@pytest.fixture
def whole(open_session: OpenSession, file_store: Store) -> Callable[[bytes], UploadSession]:
    def upload(content: bytes) -> UploadSession:
        session = open_session(len(content))
        return sessions.receive(session, chunk_of(content)) if content else sessions.receive(session, chunk_of())

    return upload


def test_file_is_published_only_after_the_scan(
    store: Store, open_session: OpenSession, not_awaited: list[UploadSession]
) -> None:
    session = sessions.receive(open_session(4), chunk_of(b"good"))
    assert (session.state, not_awaited) == (State.CHECKING, [session])
    assert not File.objects.exists()
    assert sessions.check(session).state == State.COMPLETED
    assert (File.objects.get().size, session.check_result) == (4, CheckResult.CLEAN)
    moves = [move.after for move in session.moves.all()]
    assert moves == [State.COMPLETING, State.CHECKING, State.COMPLETING, State.COMPLETED]
    assert sessions.check(session).state == State.COMPLETED


@pytest.mark.parametrize(
    ("content", "error", "check_result"),
    [(b"bad", FileRefused, CheckResult.REFUSED), (b"zip", FileUncheckable, CheckResult.UNCHECKABLE)],
)
def test_refused_file_is_kept_until_expiry(
    whole: Callable[[bytes], UploadSession], file_store: Store, content: bytes, error: type, check_result: CheckResult
) -> None:
    session = sessions.check(whole(content))
    assert (session.state, session.check_result) == (State.FAILED, check_result)
    with pytest.raises(error, match="it is"):
        sessions.receive(session, chunk_of(content))
    assert not File.objects.exists()
    assert file_store.stat(session.object_name)
    sessions.expire_now(session)
    assert not file_store.stat(session.object_name)


@pytest.mark.parametrize("content", [b"bad", b"zip"])
def test_refused_file_can_be_deleted_immediately(
    whole: Callable[[bytes], UploadSession],
    file_store: Store,
    uploads_settings: Callable[..., None],
    content: bytes,
) -> None:
    uploads_settings(ON_REFUSED="delete", ON_UNCHECKABLE="delete")
    session = sessions.check(whole(content))
    assert session.state == State.FAILED
    assert not file_store.stat(session.object_name)
    with pytest.raises(UploadGone):
        sessions.release_checked(session, who="boss", why="known")


def test_uncheckable_file_is_published_if_configured(
    whole: Callable[[bytes], UploadSession], uploads_settings: Callable[..., None]
) -> None:
    uploads_settings(ON_UNCHECKABLE="publish")
    session = sessions.check(whole(b"zip"))
    assert (session.state, session.check_result) == (State.COMPLETED, CheckResult.UNCHECKABLE)


@pytest.mark.parametrize("content", [b"away", b"bug"])
@pytest.mark.parametrize(
    ("policy", "state"), [("wait", State.CHECKING), ("hold", State.FAILED), ("publish", State.COMPLETED)]
)
def test_unavailable_checker_follows_the_policy(
    whole: Callable[[bytes], UploadSession],
    uploads_settings: Callable[..., None],
    policy: str,
    state: State,
    content: bytes,
) -> None:
    uploads_settings(ON_CHECKER_AWAY=policy, COMPLETION_ATTEMPTS=3)
    session = whole(content)
    for _ in range(2):
        session = sessions.check(session)
        assert (session.state, session.failure) == (State.CHECKING, CheckerUnavailable.text)
    assert session not in sessions.checks_due(limit=10)  # It is not due before the retry delay ends.
    assert sessions.check(session).state == state
    assert File.objects.exists() == (state == State.COMPLETED)


def test_operator_release_requires_a_reason(whole: Callable[[bytes], UploadSession]) -> None:
    session = sessions.check(whole(b"bad"))
    with pytest.raises(InvalidRequest):
        sessions.release_checked(session, who="boss", why=" ")
    session = sessions.release_checked(session, who="boss", why="a false alarm")
    assert (session.state, session.check_result) == (State.COMPLETED, CheckResult.RELEASED)
    move = session.moves.get(before=State.FAILED)
    assert (move.who, move.why) == ("boss", "released: a false alarm")
    with pytest.raises(SessionClosed):
        sessions.release_checked(session, who="boss", why="again")


def test_retry_scans_a_refused_file_again(whole: Callable[[bytes], UploadSession]) -> None:
    session = sessions.retry(sessions.check(whole(b"bad")))
    assert session.state == State.CHECKING
    assert sessions.check(session).state == State.FAILED


def test_session_can_be_aborted_during_scan(whole: Callable[[bytes], UploadSession], file_store: Store) -> None:
    session = sessions.abort(whole(b"good"))
    assert not file_store.stat(session.object_name)
    assert sessions.check(session).state == State.ABORTED


def test_command_scans_waiting_files(whole: Callable[[bytes], UploadSession]) -> None:
    session = whole(b"good")
    call_command("complete_uploads", stdout=io.StringIO())
    session.refresh_from_db()
    assert session.state == State.COMPLETED


def test_clients_receive_202_then_422(api: APIClient, uploader: Uploader, file_store: Store) -> None:
    """Answer 202 during the scan and 422 after a refusal.

    No client of any protocol repeats a request that was answered with 422.
    """
    session = uploader.create(3)
    answer = uploader.send(session, b"bad")
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "5")
    sessions.check(UploadSession.objects.get())
    answer = uploader.send(session, b"bad")
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "file_refused")
    assert "it is bad" in answer.json()["error"]["message"]
    for method in (api.head, api.patch):
        payload = {"HTTP_TUS_RESUMABLE": "1.0.0", "HTTP_UPLOAD_OFFSET": "3"}
        answer = method(f"/tus/{session['id']}", content_type="application/offset+octet-stream", **payload)
        assert answer.status_code == 422


def test_request_waits_for_a_quick_scan(
    uploader: Uploader, file_store: Store, uploads_settings: Callable[..., None]
) -> None:
    uploads_settings(CHECK_WAIT=timedelta(seconds=30))
    signals.session_checking.connect(_check_at_once, weak=False)
    try:
        answer = uploader.send(uploader.create(4), b"good")
    finally:
        signals.session_checking.disconnect(_check_at_once)
    assert answer.status_code == 201


def _check_at_once(*, session: UploadSession, **_: Any) -> None:
    sessions.check(UploadSession.objects.get(pk=session.pk))


def test_sha256_covers_the_whole_file(
    store: Store, open_session: OpenSession, uploads_settings: Callable[..., None]
) -> None:
    uploads_settings(DESTINATION="portal.destination.PortalDestination", SHA256=True)
    session = open_session(5)
    for block in (b"ab", b"cde"):
        session = sessions.receive(session, chunk_of(block))
    assert sessions.check(session).state == State.COMPLETED
    assert session.sha256 == hashlib.sha256(b"abcde").hexdigest()


def test_every_published_file_has_a_hash(
    whole: Callable[[bytes], UploadSession], uploads_settings: Callable[..., None]
) -> None:
    """Also hash files that are uncheckable or released by an operator."""
    uploads_settings(SHA256=True, ON_UNCHECKABLE="publish")
    session = sessions.check(whole(b"zip"))
    assert (session.state, session.sha256) == (State.COMPLETED, hashlib.sha256(b"zip").hexdigest())
    session = whole(b"bad")
    session = sessions.release_checked(session, who="boss", why="known")
    assert session.state == State.CHECKING, "it has not been hashed yet"
    session = sessions.check(session)
    assert (session.state, session.check_result) == (State.COMPLETED, CheckResult.RELEASED)
    assert session.sha256 == hashlib.sha256(b"bad").hexdigest()


def test_file_that_crashes_its_checker_fails(
    whole: Callable[[bytes], UploadSession], uploads_settings: Callable[..., None]
) -> None:
    uploads_settings(COMPLETION_ATTEMPTS=3)
    session = whole(b"good")
    UploadSession.objects.update(attempts=3, failure="")  # As crashed processes leave it.
    session.refresh_from_db()
    session = sessions.check(session)
    assert (session.state, session.check_result) == (State.FAILED, CheckResult.UNCHECKABLE)
    assert "checks of it began" in session.failure


def test_stored_object_reads_like_a_file(store: Store, open_session: OpenSession) -> None:
    content = bytes(range(256)) * 40
    session = sessions.receive(open_session(len(content)), chunk_of(content))
    with open_object(store, session.object_name, len(content)) as file:
        assert file.read(3) == content[:3]
        assert file.seek(-5, io.SEEK_END) == len(content) - 5
        assert file.read() == content[-5:]
        assert file.seek(100) == 100
        assert file.read(1000) == content[100:1100]
        assert file.seek(0) == 0
        assert file.read() == content
        assert file.read() == b""


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a real clamd with one signature; yield the directory of its socket."""
    if shutil.which("clamd") is None:
        pytest.skip("no clamd on this machine")
    directory = tmp_path_factory.mktemp("clamd")
    (directory / "test.hdb").write_text(
        f"{hashlib.md5(EICAR, usedforsecurity=False).hexdigest()}:{len(EICAR)}:Eicar-Test\n"
    )
    (port,) = free_ports(1)
    (directory / "clamd.conf").write_text(
        f"Foreground yes\nDatabaseDirectory {directory}\nTCPSocket {port}\nTCPAddr 127.0.0.1\n"
        f"LocalSocket {directory}/clamd.sock\nStreamMaxLength 2M\nAlertEncrypted yes\nUser root\n"
    )
    command = ["clamd", "--config-file", str(directory / "clamd.conf")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if "Self checking" in line:
                break
        yield str(directory)
        process.kill()


@pytest.mark.parametrize(
    ("content", "state", "check_result"),
    [
        (b"harmless", State.COMPLETED, CheckResult.CLEAN),
        (b"", State.COMPLETED, CheckResult.CLEAN),
        (EICAR, State.FAILED, CheckResult.REFUSED),
        (bytes(6 * 2**20), State.FAILED, CheckResult.UNCHECKABLE),
    ],
    ids=["harmless", "empty", "virus", "too-large"],
)
def test_clamd_result_decides_the_outcome(
    clamd: str,
    whole: Callable[[bytes], UploadSession],
    uploads_settings: Callable[..., None],
    content: bytes,
    state: State,
    check_result: CheckResult,
) -> None:
    uploads_settings(DESTINATION=f"{__name__}.Scanned", CLAMD=str(Path(clamd) / "clamd.sock"))
    session = sessions.check(whole(content))
    assert (session.state, session.check_result) == (state, check_result), session.failure


def test_file_waits_for_unavailable_clamd(
    tmp_path: Path, whole: Callable[[bytes], UploadSession], uploads_settings: Callable[..., None]
) -> None:
    uploads_settings(DESTINATION=f"{__name__}.Scanned", CLAMD=str(tmp_path / "nobody.sock"))
    session = sessions.check(whole(b"harmless"))
    assert (session.state, session.failure) == (State.CHECKING, CheckerUnavailable.text)


class Scanned(PortalDestination):
    checker = "uploads.contrib.clamd.check"
