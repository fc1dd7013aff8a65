"""End sessions without a file: abort, expire, and give back what they hold."""

from __future__ import annotations

import logging

from django.db.models import Q
from django.utils import timezone

from uploads import signals
from uploads._internal import conf
from uploads._internal.causes import cause_of, is_interruption
from uploads._internal.sessions.states import MOVES, move, note_problem
from uploads._internal.stores import get_store
from uploads._internal.stores.base import Store
from uploads._internal.transfer.deadlines import call_with_timeout
from uploads._internal.transfer.targets import objects_of, uploads_of
from uploads._internal.transfer.transactions import alias, outside_transaction
from uploads.destinations import destination_of
from uploads.exceptions import SessionBusy, SessionClosed, SessionExpired, UploadError
from uploads.models import MAY_EXPIRE, HeldFile, State, TaskRun, UploadSession

logger = logging.getLogger(__name__)


@outside_transaction
def abort(session: UploadSession, *, who: str = "") -> UploadSession:
    """End the session as its client or an operator (``who``) wishes; a writer at work cannot commit any more.

    Raises SessionExpired or SessionClosed if it has ended already; aborting an aborted one is fine.
    """
    return _end(session, State.ABORTED, who)


@outside_transaction
def expire_now(session: UploadSession, *, who: str = "") -> UploadSession:
    """End the session as if its time were up."""
    return _end(session, State.EXPIRED, who)


@outside_transaction
def extend(session: UploadSession, *, who: str = "") -> UploadSession:
    """Give an open or failed session its lifetime anew, from now on; raise SessionClosed for any other."""
    lifetime = conf.current().SESSION_LIFETIME if session.state == State.OPEN else conf.current().FAILED_LIFETIME
    expires_at = max(session.expires_at, timezone.now() + lifetime)
    rows = UploadSession.objects.filter(MAY_EXPIRE, pk=session.pk, state=session.state)
    if not rows.update(expires_at=expires_at):
        raise SessionClosed(state=session.get_state_display())
    session.expires_at = expires_at
    logger.info("session %s: extended until %s by %s", session.pk, expires_at, who)
    return session


@outside_transaction
def expire_stale(*, batch_size: int) -> int:
    """End the sessions whose time is up and release what ended ones hold; return how many expired.

    Safe to run twice at once: each session changes hands by compare-and-set.
    """
    total = 0
    while True:
        found, expired = _expire_batch(batch_size)
        total += expired
        if found < batch_size:
            break
    for session in UploadSession.objects.unreleased()[:batch_size]:
        release(session)
    overdue = timezone.now() - conf.current().FORM_LIFETIME
    waiting = HeldFile.objects.select_related("session").filter(Q(given_up=True) | Q(since__lt=overdue))
    for held in waiting.order_by("since")[:batch_size]:
        give_up_held(held)
    TaskRun.note("expire")
    return total


def _expire_batch(size: int) -> tuple[int, int]:
    """Expire one batch; return how many sessions were found and how many of them this call expired."""
    stale = list(UploadSession.objects.stale().order_by("expires_at")[:size])
    expired = 0
    for session in stale:
        # The row may have got a chunk or another reaper since it was read.
        if move(session, State.EXPIRED, among=UploadSession.objects.stale()):
            _after_end(session)
            expired += 1
    return len(stale), expired


@outside_transaction
def purge(*, limit: int) -> int:
    """Delete the rows of sessions that ended longer ago than the retention; return how many."""
    ids = UploadSession.objects.retired(conf.current().RETENTION).values_list("pk", flat=True)[:limit]
    return UploadSession.objects.filter(pk__in=list(ids)).delete()[1].get(UploadSession._meta.label, 0)  # noqa: SLF001 - documented


def release(session: UploadSession) -> None:
    """Give back what an ended session holds: bytes in the store, empty folders in the portal.

    What fails is logged and tried again by the expiry task, after all others.
    """
    try:
        session.refresh_from_db(fields=["upload_id"])  # A numbered chunk may have begun it since the row was read.
        store = get_store(session.storage)
        for upload in uploads_of(session):
            call_with_timeout(store.abort, upload)
        call_with_timeout(store.delete, [*_fragments(session, store), *_unpublished(session)])
        destination_of(session).discard(session)
        session.parts.all().delete()
        session.fragments.all().delete()
        session.numbered_chunks.all().delete()
        session.copied_parts.all().delete()
    except UploadError as error:
        logger.warning("session %s: not released yet: %s", session.pk, cause_of(error))
        note_problem(session, error)
    except Exception as error:
        if is_interruption(error):
            raise
        logger.exception("session %s: not released yet", session.pk)
    else:
        session.change(storage_released=True)
        return
    session.change(storage_released=False)


def _unpublished(session: UploadSession) -> list[str]:
    """Return the object's name if there may be one that nobody has: completing failed after the store had made it."""
    if not session.is_whole:
        return []
    destination = destination_of(session)
    # In another database than ours the portal may have it although we do not know.
    elsewhere = set(destination.databases) - {alias()}
    name = session.object_name
    return [] if elsewhere and name in destination.in_use([name]) else [name]


def _fragments(session: UploadSession, store: Store) -> set[str]:
    """Return the session's fragments and segments, also those that no row names because a process died."""
    named = {*objects_of(session)}
    try:  # There may be no right to list.
        return named | call_with_timeout(lambda: set(store.list_fragments(session.object_name)))
    except UploadError:
        return named  # The audit finds the others.


def give_up_held(held: HeldFile) -> None:
    """Delete a file that no form took; what fails is tried again by the expiry task."""
    # Only now nobody can take it any more: a form's transaction that does so at this moment is waited for.
    if not held.given_up and not HeldFile.objects.filter(pk=held.pk).update(given_up=True):
        return
    session = held.session
    try:
        call_with_timeout(get_store(session.storage).delete, [session.object_name])
    except Exception as error:
        if is_interruption(error):
            raise
        logger.warning("session %s: its file is not deleted yet: %s", session.pk, cause_of(error))
    else:
        HeldFile.objects.filter(pk=held.pk).delete()


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
        "session %s: %s with %d of %d bytes", session.pk, session.state, session.bytes_stored, session.file_size
    )
    signal = signals.session_aborted if session.state == State.ABORTED else signals.session_expired
    release(session)
    signal.send_robust(UploadSession, session=session)
