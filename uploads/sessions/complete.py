"""Complete a session: assemble, verify, publish. Whoever finds one half done carries it on."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import reduce

from django.db import transaction
from django.utils import timezone

from uploads import conf, signals
from uploads.destinations import PublishedFile, get_destination
from uploads.exceptions import LeaseLost, SessionBusy, StoredObjectWrong, StoreUnavailable, UploadError, UploadGone
from uploads.models import State, TaskRun, UploadPart, UploadSession
from uploads.parts import combine_crc32
from uploads.sessions.calls import OutOfTime
from uploads.sessions.lease import Lease, hold
from uploads.sessions.pieces import join_pieces
from uploads.sessions.writer import upload_of
from uploads.stores import get_store
from uploads.stores.base import Part, StoredObject

logger = logging.getLogger(__name__)

FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(hours=1)


def complete(session: UploadSession) -> UploadSession:
    """Carry a ``completing`` session on for its client; it is ``completed``, ``failed`` or still ``completing`` then.

    Raises SessionBusy if somebody else is at it. A session that failed a moment ago rests until ``retry_at``,
    however often its client asks.
    """
    if session.retry_at and session.retry_at > timezone.now():
        return session
    with hold(session, reserve=0) as lease:
        complete_held(lease, budget=conf.current().COMPLETION_BUDGET)
    return session


def complete_due(*, limit: int) -> int:
    """Carry on the sessions whose completion nobody is at; return how many there were."""
    due = list(UploadSession.objects.due().order_by("retry_at")[:limit])
    for session in due:
        try:
            with hold(session, reserve=0) as lease:
                complete_held(lease)
        except SessionBusy:
            continue
        except Exception:
            logger.exception("session %s: completing failed", session.pk)
    TaskRun.note("complete")
    return len(due)


def retry(session: UploadSession) -> UploadSession:
    """Try a ``failed`` session once more, as an operator asks."""
    if session.change(held=False, state=State.COMPLETING, attempts=0, retry_at=None, failure=""):
        return complete(session)
    raise SessionBusy


def complete_held(lease: Lease, *, budget: timedelta | None = None) -> None:
    """Complete the session that ``lease`` holds and let go of it.

    If the store takes longer than ``budget``, the session stays ``completing``: what the store is at goes on, and
    the next to ask, client or Celery, finds out what came of it.
    """
    session = lease.session
    try:
        _assemble(lease, budget)
        _publish(lease)
    except LeaseLost:
        raise
    except OutOfTime:
        lease.commit(retry_at=timezone.now() + FIRST_PAUSE)
        logger.info("session %s: completing takes longer than its client waits", session.pk)
    except StoreUnavailable as error:
        _retry_later(lease, error)
    except UploadError as error:
        _fail(lease, error)
    except Exception as error:
        logger.exception("session %s: the portal could not publish the file", session.pk)
        session.refresh_from_db()  # as it was before a transaction that was rolled back
        if session.fence != lease.fence:
            return  # It was published all the same, or somebody else is at it.
        _retry_later(lease, error)
    else:
        logger.info("session %s: completed as file %s", session.pk, session.file_id)
        signals.session_completed.send_robust(UploadSession, session=session)


def _assemble(lease: Lease, budget: timedelta | None) -> None:
    session, store = lease.session, get_store(lease.session.storage)
    rows = join_pieces(lease, store)
    # Only now: joining starts from zero when it is repeated, while what the store is at goes on by itself.
    if budget is not None:
        lease.deadline = time.monotonic() + budget.total_seconds()
    parts = [Part(row.number or 0, row.size, row.crc32, row.etag) for row in rows]
    crc32 = _whole_crc32(rows)
    lost: UploadError | None = None
    try:
        lease.call(store.complete, upload_of(session), parts, crc32=crc32)
    except (StoreUnavailable, UploadGone) as error:
        lost = error
    stored = lease.call(store.stat, session.object_name)
    if stored is None:
        raise lost or StoreUnavailable
    _verify(session, stored, crc32)
    session.crc32 = crc32


def _whole_crc32(rows: Sequence[UploadPart]) -> int:
    return reduce(lambda crc32, part: combine_crc32(crc32, part.crc32, part.size), rows, 0)


def _verify(session: UploadSession, stored: StoredObject, crc32: int) -> None:
    """Believe the store's HEAD, not its answers: size, checksum and encryption must be what the row says."""
    if stored.size != session.file_size:
        reason = f"it has {stored.size} bytes instead of {session.file_size}"
    elif stored.crc32 not in (None, crc32):
        reason = f"its CRC-32 is {stored.crc32:08x} instead of {crc32:08x}"
    elif session.encrypted and stored.encryption != conf.current().ENCRYPTION:
        reason = "it is not encrypted at rest as the session demands"
    else:
        return
    raise StoredObjectWrong(reason=reason)


def _publish(lease: Lease) -> None:
    session = lease.session
    with transaction.atomic():
        # The row first: whoever loses the lease here has published nothing.
        lease.commit(keep=True, crc32=session.crc32)
        destination = get_destination()
        if session.owner:
            destination.accept(session.owner, session)
        file = destination.publish(session)
        lease.commit(
            state=State.COMPLETED,
            file_id=str(file.id),
            result=_result(file),
            attempts=session.attempts + 1,
            retry_at=None,
            failure="",
        )


def _result(file: PublishedFile) -> dict[str, object]:
    return {
        "id": file.id,
        "folderId": file.folder_id,
        "version": file.version,
        "title": file.title,
        "provider_key": file.provider_key,
        "file": file.details,
    }


def _retry_later(lease: Lease, error: Exception) -> None:
    session = lease.session
    attempts = session.attempts + 1
    if attempts >= conf.current().COMPLETION_ATTEMPTS:
        _fail(lease, error)
        return
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempts - 1))
    lease.commit(attempts=attempts, retry_at=timezone.now() + pause, failure=_reason(error))
    logger.warning("session %s: completing is tried again in %s: %s", session.pk, pause, _reason(error))


def _fail(lease: Lease, error: Exception) -> None:
    session = lease.session
    lease.commit(state=State.FAILED, attempts=session.attempts + 1, retry_at=None, failure=_reason(error))
    logger.error("session %s: failed: %s", session.pk, session.failure)
    signals.session_failed.send_robust(UploadSession, session=session)


def _reason(error: Exception) -> str:
    """Tell people why; only our own errors have a text that is fit for a client."""
    return str(error) if isinstance(error, UploadError) else "The portal could not take the file over."
