"""Let the portal check a verified file as a whole before it is published."""

from __future__ import annotations

import hashlib
import logging
from datetime import timedelta
from typing import Any

from django.utils import timezone

from uploads._internal import conf
from uploads._internal.causes import is_interruption
from uploads._internal.sessions.complete import (
    begin_attempt,
    complete,
    complete_held,
    fail,
    pause_after,
    reason_of,
    undo_attempt,
)
from uploads._internal.sessions.states import move, move_held
from uploads._internal.stores import get_store
from uploads._internal.stores.reader import open_object
from uploads._internal.transfer.deadlines import call_with_timeout
from uploads._internal.transfer.lease import Lease, acquire_lease
from uploads._internal.transfer.targets import objects_of
from uploads._internal.transfer.transactions import outside_transaction, reconnect
from uploads.destinations import destination_of
from uploads.exceptions import (
    CheckerUnavailable,
    FileRefused,
    FileUncheckable,
    InvalidRequest,
    LeaseLost,
    SessionBusy,
    SessionClosed,
    StoreUnavailable,
    UploadError,
    UploadGone,
)
from uploads.models import CheckResult, State, UploadSession

logger = logging.getLogger(__name__)

MAX_CHECK_PAUSE = timedelta(minutes=5)
"""Longest pause between two attempts while the checker is unavailable."""
RELEASABLE = (CheckResult.REFUSED, CheckResult.UNCHECKABLE)


@outside_transaction
def check(session: UploadSession) -> UploadSession:
    """Have the portal check a ``checking`` session's file; publish it if the result allows.

    Takes as long as the check does. A check whose process dies starts again from the beginning. Raises SessionBusy if
    another process is checking the session.
    """
    if session.state == State.CHECKING:
        before = session.failure
        # An attempt that kills its process leaves ``failure`` empty; the next one recognizes it by that.
        with acquire_lease(session, failure="", **begin_attempt(session, MAX_CHECK_PAUSE)) as lease:
            _check_held(lease, died=not before)
    return session


@outside_transaction
def checks_due(*, limit: int) -> list[UploadSession]:
    """Return idle sessions that await their check.

    None is returned twice within ``MAX_CHECK_PAUSE``.
    """
    due = UploadSession.objects.due(State.CHECKING)[:limit]
    return [session for session in due if session.change(retry_at=timezone.now() + MAX_CHECK_PAUSE)]


@outside_transaction
def release_checked(session: UploadSession, *, who: str, why: str) -> UploadSession:
    """Publish a file that its check refused or has not finished, on an operator's responsibility.

    ``who`` and ``why`` go into the history. Raises InvalidRequest without a reason, SessionClosed if there is nothing
    to release, and UploadGone if the file was deleted.
    """
    if not why.strip():
        message = "A file is released for a reason: say which."
        raise InvalidRequest(message)
    held = session.state == State.FAILED and session.check_result in RELEASABLE
    if not held and session.state != State.CHECKING:
        raise SessionClosed(state=session.get_state_display())
    if call_with_timeout(get_store(session.storage).stat, session.object_name) is None:
        raise UploadGone
    values: dict[str, Any] = {"check_result": CheckResult.RELEASED, "attempts": 0, "retry_at": None, "failure": ""}
    if move(session, State.COMPLETING, who=who, why=f"released: {why.strip()}", **values):
        return complete(session)
    raise SessionBusy


def _check_held(lease: Lease, *, died: bool) -> None:
    session, config = lease.session, conf.current()
    found: dict[str, Any] = {}
    try:
        if died and session.attempts > config.COMPLETION_ATTEMPTS:
            raise FileUncheckable(reason=f"{session.attempts - 1} checks of it began and none ended")
        _hash_and_check(session, found)
    except FileRefused as error:
        _apply_check_result(lease, CheckResult.REFUSED, config.ON_REFUSED, error, found)
    except FileUncheckable as error:
        _apply_check_result(lease, CheckResult.UNCHECKABLE, config.ON_UNCHECKABLE, error, found)
    except LeaseLost:
        raise
    except UploadGone as error:
        fail(lease, error)
    except Exception as error:
        if is_interruption(error):
            undo_attempt(lease)
            raise
        if not isinstance(error, UploadError):
            logger.exception("session %s: the portal's check failed", session.label)
        away = CheckerUnavailable() if not isinstance(error, UploadError) else error
        patient = config.ON_CHECKER_AWAY == "wait" or isinstance(error, StoreUnavailable)
        if patient or session.attempts < config.COMPLETION_ATTEMPTS:
            pause = pause_after(session.attempts, MAX_CHECK_PAUSE)
            lease.commit(retry_at=timezone.now() + pause, failure=reason_of(away))
        elif config.ON_CHECKER_AWAY == "publish":
            _apply_check_result(lease, CheckResult.UNCHECKED, "publish", away, found)
        else:
            _apply_check_result(lease, CheckResult.UNCHECKABLE, "hold", away, found)
    else:
        _apply_check_result(lease, CheckResult.CLEAN, "publish", None, found)


def _hash_and_check(session: UploadSession, found: dict[str, Any]) -> None:
    """Hash and check the file as configured; put the values to save into ``found``."""
    destination = destination_of(session)
    with open_object(get_store(session.storage), session.object_name, session.file_size) as file:
        if conf.current().SHA256:
            found["digests"] = session.digests | {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
            file.seek(0)
        if session.check_result == CheckResult.NONE and destination.is_checked(session):
            destination.check(session, file)


def _apply_check_result(
    lease: Lease, check_result: CheckResult, policy: str, error: UploadError | None, found: dict[str, Any]
) -> None:
    session, why = lease.session, "" if error is None else str(error)
    if session.check_result:  # An operator's decision overrides the checker's.
        check_result = CheckResult(session.check_result)
    reconnect()  # The database may have closed the connection during a long check.
    if policy == "publish":
        move_held(
            lease,
            State.COMPLETING,
            keep=True,
            why=why,
            check_result=check_result,
            attempts=1,
            retry_at=None,
            failure="",
            **found,
        )
        complete_held(lease)
        return
    if policy == "delete":
        call_with_timeout(get_store(session.storage).delete, [session.object_name, *objects_of(session)])
    fail(lease, error or CheckerUnavailable(), check_result=check_result, **found)
