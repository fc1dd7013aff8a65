"""Complete a session: assemble, verify, publish. Each call resumes what an earlier one left unfinished."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from typing import Any

from django.db import Error, transaction
from django.db.models import F
from django.utils import timezone

from uploads import signals
from uploads._internal import conf, tracing
from uploads._internal.causes import cause_of, is_interruption
from uploads._internal.parts import UploadPlan
from uploads._internal.sessions.states import announce, move, move_held, note_problem
from uploads._internal.stores import get_store
from uploads._internal.stores.base import Store, StoredObject, encrypted_well_enough
from uploads._internal.transfer.deadlines import call_with_timeout
from uploads._internal.transfer.fragments import make_parts
from uploads._internal.transfer.lease import POLL_INTERVAL, Lease, acquire_lease
from uploads._internal.transfer.segments import GONE_ATTEMPTS, assemble
from uploads._internal.transfer.targets import begin_planned, objects_of, plan_for
from uploads._internal.transfer.threads import OutOfTime
from uploads._internal.transfer.transactions import alias, durable, outside_transaction, reconnect
from uploads._internal.transfer.writer import delete_quietly
from uploads.destinations import PublishedFile, destination_of, plain_id
from uploads.exceptions import (
    LeaseLost,
    NotEncrypted,
    SessionBusy,
    SessionClosed,
    StoredObjectWrong,
    TooManyAttempts,
    UploadError,
    UploadGone,
)
from uploads.models import CheckResult, Mode, State, TaskRun, UploadSession

logger = logging.getLogger(__name__)

FIRST_PAUSE = timedelta(seconds=5)
MAX_COMPLETION_PAUSE = timedelta(hours=1)
TASK_GRACE = timedelta(seconds=60)
"""Period in which clients leave a file to the task, after completing took too long.

It took longer than a client waits: each client would start again and be interrupted again.
"""


@outside_transaction
def complete(session: UploadSession) -> UploadSession:
    """Complete a session that has all its bytes, for its client.

    Waits a limited time for the result of a check, too. Afterwards, the session is ``completed``, ``failed``, or still
    ``completing`` or ``checking``.

    Raises SessionBusy if another process is completing the session. After a failed attempt, the session rests until
    ``retry_at``, however often its client asks.
    """
    if session.state == State.CHECKING:
        return await_check(session)
    rest = TASK_GRACE if session.left_to_task else timedelta(0)
    if session.lease_until is None and session.retry_at and session.retry_at + rest > timezone.now():
        return session
    with acquire_lease(session, **begin_attempt(session)) as lease:
        complete_held(lease, budget=conf.current().COMPLETION_BUDGET)
    return await_check(session)


def await_check(session: UploadSession) -> UploadSession:
    """Wait for a limited time while the session is being checked.

    Does not wait if the checker is known to be unavailable.
    """
    ends = time.monotonic() + conf.current().CHECK_WAIT.total_seconds()
    waits = session.state == State.CHECKING and not session.failure
    pause = POLL_INTERVAL
    while waits and session.is_finishing and not session.failure and time.monotonic() < ends:
        time.sleep(pause)
        pause = min(1.0, 2 * pause)
        session.refresh_from_db()
    return session


@outside_transaction
def complete_due(*, limit: int) -> int:
    """Complete the sessions that no other process is completing; return their number."""
    due = list(UploadSession.objects.due()[:limit])
    for session in due:
        try:
            with acquire_lease(session, **begin_attempt(session)) as lease:
                complete_held(lease)
        except SessionBusy:
            continue
        except Exception as error:
            if is_interruption(error):
                raise
            logger.exception("session %s: completing failed", session.label)
    TaskRun.note("complete")
    return len(due)


def begin_attempt(session: UploadSession, longest: timedelta = MAX_COMPLETION_PAUSE) -> dict[str, Any]:
    """Return the values that count an attempt at its beginning.

    An attempt that kills its process is thus counted, too.
    """
    attempts = session.attempts + 1
    return {"attempts": attempts, "retry_at": timezone.now() + pause_after(attempts, longest), "left_to_task": False}


def pause_after(attempts: int, longest: timedelta = MAX_COMPLETION_PAUSE) -> timedelta:
    pause: timedelta = FIRST_PAUSE * 2 ** min(attempts - 1, 20)
    return min(longest, pause)


@outside_transaction
def retry(session: UploadSession, *, who: str = "") -> UploadSession:
    """Retry a ``failed`` session on request of an operator."""
    if session.state != State.FAILED:
        raise SessionClosed(state=session.get_state_display())
    if move(session, State.COMPLETING, who=who, check_result=CheckResult.NONE, attempts=0, retry_at=None, failure=""):
        return complete(session)
    raise SessionBusy


@tracing.traced("complete")
def complete_held(lease: Lease, *, budget: timedelta | None = None) -> None:
    """Complete the session that ``lease`` holds, and release it; the attempt is already counted.

    If the store takes longer than ``budget``, the session stays ``completing``. The store's operation continues, and
    the next call (by a client or by Celery) finds its result.
    """
    session = lease.session
    try:
        if session.attempts > conf.current().COMPLETION_ATTEMPTS:
            raise TooManyAttempts(attempts=session.attempts - 1)
        _assemble(lease, budget)
        if _awaits_check(session):
            move_held(
                lease,
                State.CHECKING,
                digests=session.digests,
                attempts=0,
                retry_at=None,
                left_to_task=False,
                failure="",
            )
            announce(signals.session_checking, session)
            return
        _publish(lease)
        _release_fragments(session)
    except LeaseLost:
        raise
    except OutOfTime:
        lease.commit(attempts=session.attempts - 1, retry_at=timezone.now(), left_to_task=True)
        logger.info("session %s: completing takes longer than its client waits", session.label)
        return
    except UploadError as error:
        if error.passing or (isinstance(error, UploadGone) and session.attempts < GONE_ATTEMPTS):
            _retry_later(lease, error)
        else:
            fail(lease, error)
        return
    except Exception as error:
        if is_interruption(error):
            undo_attempt(lease)
            raise
        logger.exception("session %s: the portal could not publish the file", session.label)
        reconnect()
        session.refresh_from_db()  # Its values may stem from a transaction that was rolled back.
        if session.fence == lease.fence:
            _retry_later(lease, error)
            return
        if session.state != State.COMPLETED:
            return  # Another process is completing the session.
        # The answer to the COMMIT was lost, but the file is published.
    logger.info("session %s: completed as file %s", session.label, session.file_id)
    announce(signals.session_completed, session)


def _release_fragments(session: UploadSession) -> None:
    """Delete the objects that the file was made of, and those of attempts that died.

    The latter have no rows; they are listed if the history records a problem or the chunks are numbered.
    """
    store, left = get_store(session.storage), {*objects_of(session)}
    if session.mode == Mode.NUMBERED or session.moves.filter(before=F("after")).exists():
        with suppress(UploadError):  # Listing may not be permitted; the audit finds them.
            left |= call_with_timeout(lambda: set(store.list_fragments(session.object_name)))
    delete_quietly(store, left)
    session.fragments.all().delete()


def undo_attempt(lease: Lease) -> None:
    """Release the session without counting the attempt, if possible."""
    session = lease.session
    try:
        reconnect()
        session.refresh_from_db()
        if session.fence == lease.fence:
            lease.commit(attempts=session.attempts - 1, retry_at=timezone.now())
    except (Error, LeaseLost):
        logger.warning("session %s: interrupted; its lease runs out by itself", session.label)


def _awaits_check(session: UploadSession) -> bool:
    if conf.current().SHA256 and not session.sha256 and not session.is_partial:
        return True
    return session.check_result == CheckResult.NONE and destination_of(session).is_checked(session)


def _assemble(lease: Lease, budget: timedelta | None) -> None:
    session, store = lease.session, get_store(lease.session.storage)
    plan = _ensure_plan(lease, store)
    if budget is not None:
        lease.threads.deadline = time.monotonic() + budget.total_seconds()
    make_parts(lease, store, plan)
    stored, crc32 = assemble(lease, store, plan)
    try:
        _verify(session, stored, crc32)
    except NotEncrypted:
        lease.threads.call(store.delete, [session.object_name])
        raise
    if crc32 is not None:
        session.digests["crc32"] = crc32


def _ensure_plan(lease: Lease, store: Store) -> UploadPlan:
    """Return the plan of the file; numbered chunks may have left it undecided until now."""
    session = lease.session
    if session.plan:
        return session.plan
    plan = plan_for(session, store, session.numbered_chunks.filter(number=1).values_list("size", flat=True).first())

    def save(upload_id: str) -> bool:
        lease.decide(plan, upload_id)
        return True

    begin_planned(session, store, plan, save)
    return plan


def _verify(session: UploadSession, stored: StoredObject, crc32: int | None) -> None:
    """Verify that size, checksum and encryption of the object are those of the row.

    The values come from the store's HEAD response; its responses to other calls are not trusted.
    """
    if stored.size != session.file_size:
        reason = f"it has {stored.size} bytes instead of {session.file_size}"
    elif crc32 is not None and stored.crc32 not in (None, crc32):
        reason = f"its CRC-32 is {stored.crc32:08x} instead of {crc32:08x}"
    elif session.encrypted and not encrypted_well_enough(stored.encryption, conf.current().ENCRYPTION):
        raise NotEncrypted
    else:
        return
    raise StoredObjectWrong(reason=reason)


@tracing.traced("publish")
def _publish(lease: Lease) -> None:
    session = lease.session
    destination = destination_of(session)
    with durable(), ExitStack() as portals, _locking(lease):
        # The row is written first, so that a process that lost its lease publishes nothing.
        lease.commit(keep=True, digests=session.digests)
        for other in {*destination.databases} - {alias()}:
            portals.enter_context(transaction.atomic(using=other, durable=True))
        if session.owner is not None:
            destination.accept(session.owner, session)
        file = destination.publish(session)
        move_held(
            lease,
            State.COMPLETED,
            file_id=str(file.id),
            result=_result(file),
            retry_at=None,
            failure="",
        )


@contextmanager
def _locking(lease: Lease) -> Iterator[None]:
    lease.locks_row = True
    try:
        yield
    finally:
        lease.locks_row = False


def _result(file: PublishedFile) -> dict[str, object]:
    return {
        "id": plain_id(file.id),
        "folder_id": plain_id(file.folder_id),
        "version": file.version,
        "title": file.title,
        "url": file.url,
        "details": file.details,
    }


def _retry_later(lease: Lease, error: Exception) -> None:
    tracing.note_error(error)
    session = lease.session
    if session.attempts >= conf.current().COMPLETION_ATTEMPTS:
        fail(lease, error)
        return
    pause = pause_after(session.attempts)
    lease.commit(retry_at=timezone.now() + pause, failure=reason_of(error))
    note_problem(session, error)
    logger.warning("session %s: completing is tried again in %s: %s", session.label, pause, cause_of(error))


def fail(lease: Lease, error: Exception, **values: Any) -> None:
    """Stop completing the session until an operator retries it or it expires."""
    tracing.note_error(error)
    session = lease.session
    expires_at = timezone.now() + conf.current().FAILED_LIFETIME
    why = reason_of(error)
    if error.__cause__ is not None:
        note_problem(session, error)
    move_held(lease, State.FAILED, why=why, retry_at=None, failure=why, expires_at=expires_at, **values)
    level = logging.WARNING if session.check_result else logging.ERROR  # A refused file is no defect.
    logger.log(level, "session %s: failed: %s (%s)", session.label, session.failure, cause_of(error))
    announce(signals.session_failed, session)


def reason_of(error: Exception) -> str:
    """Return the reason to show to the user.

    Only our own errors have a text that is fit for clients.
    """
    return str(error) if isinstance(error, UploadError) else "The portal could not take the file over."
