"""End sessions without a file: abort or expire them, and release what they hold."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db.models import Q
from django.utils import timezone

from uploads import signals
from uploads._internal import conf
from uploads._internal.causes import cause_of, is_interruption
from uploads._internal.sessions.direct import complete_direct, may_be_written
from uploads._internal.sessions.states import MOVES, announce, move, note_problem
from uploads._internal.stores import get_store
from uploads._internal.stores.base import Store
from uploads._internal.transfer.deadlines import call_with_timeout
from uploads._internal.transfer.lease import fresh_expiry
from uploads._internal.transfer.targets import objects_of, uploads_of
from uploads._internal.transfer.transactions import alias, outside_transaction
from uploads.destinations import destination_of
from uploads.exceptions import SessionBusy, SessionClosed, SessionExpired, StoreUnavailable, UploadError
from uploads.models import MAY_EXPIRE, Mode, PendingFile, State, TaskRun, UploadSession

logger = logging.getLogger(__name__)


@outside_transaction
def abort(session: UploadSession, *, who: str = "") -> UploadSession:
    """End the session on request of its client or of an operator (``who``).

    An active writer can no longer commit. Raises SessionExpired or SessionClosed if the session has already ended.
    Aborting an aborted session has no effect.
    """
    return _end(session, State.ABORTED, who)


@outside_transaction
def expire_now(session: UploadSession, *, who: str = "") -> UploadSession:
    """End the session as if its expiry time had passed."""
    return _end(session, State.EXPIRED, who)


@outside_transaction
def extend(session: UploadSession, *, who: str = "") -> UploadSession:
    """Restart the lifetime of an open or failed session; raise SessionClosed for any other."""
    lifetime = conf.current().SESSION_LIFETIME if session.state == State.OPEN else conf.current().FAILED_LIFETIME
    expires_at = max(session.expires_at, timezone.now() + lifetime)
    rows = UploadSession.objects.filter(MAY_EXPIRE, pk=session.pk, state=session.state)
    if not rows.update(expires_at=expires_at):
        raise SessionClosed(state=session.get_state_display())
    session.expires_at = expires_at
    logger.info("session %s: extended until %s by %s", session.label, expires_at, who)
    return session


@outside_transaction
def expire_stale(*, batch_size: int) -> int:
    """Expire overdue sessions and release what ended sessions hold; return the number of expired ones.

    Overdue files that no form took are deleted, too. Safe to run twice at once: each session is moved by
    compare-and-set.
    """
    total, begun = 0, timezone.now()
    while True:
        found, expired = _expire_batch(batch_size, begun)
        total += expired
        if found < batch_size:
            break
    for session in UploadSession.objects.unreleased()[:batch_size]:
        release(session)
    overdue = timezone.now() - conf.current().FORM_LIFETIME
    waiting = PendingFile.objects.select_related("session").filter(Q(given_up=True) | Q(since__lt=overdue))
    for pending in waiting.order_by("since")[:batch_size]:
        delete_pending_file(pending)
    TaskRun.note("expire")
    return total


def _expire_batch(size: int, begun: datetime) -> tuple[int, int]:
    """Expire one batch; return the number of sessions found and the number this call expired.

    Sessions that this run tried in vain expire after ``begun``.
    """
    stale = list(UploadSession.objects.stale().filter(expires_at__lte=begun).order_by("expires_at")[:size])
    expired = 0
    for session in stale:
        if session.state == State.OPEN and session.mode == Mode.DIRECT and _complete_instead(session):
            continue
        # A chunk or another run of this task may have changed the row since.
        if move(session, State.EXPIRED, among=UploadSession.objects.stale()):
            _after_end(session)
            expired += 1
    return len(stale), expired


def _complete_instead(session: UploadSession) -> bool:
    """Complete an overdue session if the store has all its parts; return False if it has to expire."""
    overdue = session.expires_at
    if not session.change(expires_at=fresh_expiry()):
        return True  # It is no longer idle.
    try:
        complete_direct(session)
    except UploadError as error:
        logger.info("session %s: not completed instead of expiring: %s", session.pk, cause_of(error))
        session.refresh_from_db()
        if session.state != State.OPEN:
            return True
        passes = isinstance(error, StoreUnavailable | SessionBusy)
        session.change(expires_at=timezone.now() if passes else overdue)
        return passes
    return True


@outside_transaction
def purge(*, limit: int) -> int:
    """Delete the rows of sessions that ended before the retention period; return their number."""
    ids = UploadSession.objects.retired(conf.current().RETENTION).values_list("pk", flat=True)[:limit]
    return UploadSession.objects.filter(pk__in=list(ids)).delete()[1].get(UploadSession._meta.label, 0)  # noqa: SLF001 - documented


def release(session: UploadSession) -> None:
    """Release what an ended session holds: bytes in the store, empty folders in the portal.

    A failure is logged. The expiry task tries again, after all other sessions.
    """
    try:
        session.refresh_from_db(fields=["upload_id"])  # A numbered chunk may have begun the upload since.
        store = get_store(session.storage)
        for upload in uploads_of(session):
            call_with_timeout(store.abort, upload)
        call_with_timeout(store.delete, [*_fragments(session, store), *_unpublished(session)])
        destination_of(session).discard(session)
        session.parts.all().delete()
        session.fragments.all().delete()
        session.numbered_chunks.all().delete()
        if session.mode == Mode.DIRECT:
            session.signed_parts.all().delete()
        session.copied_parts.all().delete()
    except UploadError as error:
        logger.warning("session %s: not released yet: %s", session.label, cause_of(error))
        note_problem(session, error)
    except Exception as error:
        if is_interruption(error):
            raise
        logger.exception("session %s: not released yet", session.label)
    else:
        if not may_be_written(session):  # Otherwise, the expiry task aborts the upload once more.
            session.change(storage_released=True)
        return
    session.change(storage_released=False)


def _unpublished(session: UploadSession) -> list[str]:
    """Return the object's name if the store may have an unpublished object.

    Completing may have failed after the store had made the object.
    """
    if not session.is_whole:
        return []
    destination = destination_of(session)
    # A portal with another database may have committed the file although our transaction failed.
    elsewhere = set(destination.databases) - {alias()}
    name = session.object_name
    return [] if elsewhere and name in destination.in_use([name]) else [name]


def _fragments(session: UploadSession, store: Store) -> set[str]:
    """Return the session's fragments and segments, including those left without a row by a crash."""
    named = {*objects_of(session)}
    try:  # Listing may not be permitted.
        return named | call_with_timeout(lambda: set(store.list_fragments(session.object_name)))
    except UploadError:
        return named  # The audit finds the rest.


def delete_waiting(session: UploadSession) -> None:
    """Delete the session's file, if it still waits for a form or for the file it is a part of."""
    for pending in PendingFile.objects.select_related("session").filter(session=session):
        delete_pending_file(pending)


def delete_pending_file(pending: PendingFile) -> None:
    """Delete a file that no form took; the expiry task retries a failed deletion."""
    # After this update no form can take the file. The update waits for a form that is taking it in a transaction.
    if not pending.given_up and not PendingFile.objects.filter(pk=pending.pk).update(given_up=True):
        return
    session = pending.session
    try:
        call_with_timeout(get_store(session.storage).delete, [session.object_name])
    except Exception as error:
        if is_interruption(error):
            raise
        logger.warning("session %s: its file is not deleted yet: %s", session.label, cause_of(error))
    else:
        PendingFile.objects.filter(pk=pending.pk).delete()


def _end(session: UploadSession, state: State, who: str) -> UploadSession:
    for _attempt in range(3):
        if session.state == state:
            return session
        if session.state == State.EXPIRED:
            raise SessionExpired
        if (State(session.state), state) not in MOVES:
            raise SessionClosed(state=session.get_state_display())
        if move(session, state, who=who):
            _after_end(session)
            return session
        session.refresh_from_db()
    raise SessionBusy


def _after_end(session: UploadSession) -> None:
    logger.info(
        "session %s: %s with %d of %d bytes", session.label, session.state, session.bytes_stored, session.file_size
    )
    signal = signals.session_aborted if session.state == State.ABORTED else signals.session_expired
    release(session)
    announce(signal, session)
