"""A lease permits one holder at a time to write to a session.

This holds across processes and hosts, and needs nothing but the database. A lease is a deadline on the row, by the
database's clock, and a fencing number. The number grows with every change of holder, so it is also the version of the
row. A process cannot act on a row that it read before such a change.

A holder that lost its lease cannot commit: every write to the row names the fencing number. It cannot damage the file
either. The row names the parts that a holder may be writing to (``dirty_parts``), and the next holder keeps the bytes
of these as fragments. If the store writes parts in place, each write takes a lock, which the next holder waits for.

Another request can ask for the session through the row (``request_handover``). A holder whose client is silent releases
the session. A client that returns thus gets its session although the connection of its old request is still open.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from math import ceil
from typing import Any

from django.db import Error
from django.utils import timezone

from uploads import signals
from uploads._internal import conf
from uploads._internal.clock import DatabaseNow
from uploads._internal.parts import UploadPlan
from uploads._internal.transfer.dirty import DirtyParts
from uploads._internal.transfer.heartbeat import heartbeat
from uploads._internal.transfer.threads import StoreThreads
from uploads._internal.transfer.transactions import reconnect, release_pooled_connection
from uploads.exceptions import LeaseLost, SessionBusy, UploadError
from uploads.models import Move, State, UploadPart, UploadSession

logger = logging.getLogger(__name__)

PARTS_AHEAD = 8
"""Number of parts that a holder records on the row at once, before writing them.

At most this many parts are dirty when its process dies.
"""
SILENCE = 1.0
"""Seconds of silence after which a client may be gone."""
WRITER_DIED = "taken over from a writer that died"
POLL_INTERVAL = 0.1
"""Seconds between two queries while waiting for another process."""


class Lease:
    """A held session; the heartbeat renews it while the holder waits for client or store."""

    def __init__(self, session: UploadSession) -> None:
        self.session = session
        self.fence = session.fence
        self.dirty = DirtyParts(session.dirty_parts, self._note_part)
        self.threads = StoreThreads(self, count=conf.current().PARALLEL_PARTS)
        self.lost = False
        """True if the row has another holder."""
        self.wanted = False
        """True if another request asked for the handover and gets the session."""
        self.interrupt: Callable[[], None] = _nothing
        """Interrupt the reading of the body that the holder waits for."""
        self.is_sending: Callable[[], bool] = bool
        """Return whether the client sent something a moment ago, if that can be known."""
        self.preemptible = False
        """True if another request gets the session even while the client is sending."""
        self.writes = False
        """True if parts will be written that could arrive late."""
        self.locks_row = False
        """True while the holder locks its row. The heartbeat then need not, and cannot, renew the lease."""
        self.renewed = time.monotonic()
        self._interval = renewal_interval()
        self._silent_since: float | None = None

    def listen(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the blocks of a body.

        Raises LeaseLost if the reading ends because another request got the session.
        """
        while True:
            release_pooled_connection()
            self._silent_since = time.monotonic()
            try:
                block = next(blocks, None)
            except UploadError as error:
                if self.wanted or self.lost:
                    raise LeaseLost from error
                raise
            finally:
                self._silent_since = None
            if block is None:
                return
            yield block

    @property
    def is_listening(self) -> bool:
        """True while the holder waits for the client."""
        return self._silent_since is not None

    @property
    def is_silent(self) -> bool:
        since = self._silent_since
        return since is not None and time.monotonic() - since > SILENCE and not self.is_sending()

    def renew(self) -> None:
        """Renew lease and session if due; raise LeaseLost if the session has another holder."""
        if self.lost:
            raise LeaseLost
        if time.monotonic() - self.renewed > self._interval:
            self.write(lease_until=deadline(), **extended_expiry(self.session))

    def check(self) -> None:
        if self.lost or time.monotonic() - self.renewed >= conf.current().LEASE_DURATION.total_seconds():
            raise LeaseLost

    def commit(self, *, keep: bool = False, stored: Collection[UploadPart] = (), **values: Any) -> None:
        """Write to the row as the holder, and release the session unless ``keep``.

        ``stored`` are parts whose rows are committed with it. Raises LeaseLost if the session has another holder.
        """
        plan = self.session.plan
        if keep:
            offset = values.get("bytes_stored", self.session.bytes_stored)
            self.write(lease_until=deadline(), **self._dirty_values(plan, plan.index(offset) if plan else 0), **values)
        elif not self.session.change(held=False, dirty_parts=self.dirty.left(but=self._indexes(stored)), **values):
            raise LeaseLost

    def release(self) -> None:
        """Release the session if it is held; parts that may still change stay dirty."""
        self.session.fence = self.fence  # The row's value, if a transaction that released the session was rolled back.
        reconnect()
        self.session.change(held=False, dirty_parts=self.dirty.left())

    def write(self, **values: Any) -> None:
        asked = time.monotonic()
        if not self.session.change(**values):
            raise LeaseLost
        self.renewed = asked

    def decide(self, plan: UploadPlan, upload_id: str, **values: Any) -> None:
        """Save the plan of the file, and record that its first parts will be written."""
        ahead = self._dirty_values(plan, 0)
        self.write(layout=plan.as_json(), upload_id=upload_id, lease_until=deadline(), **ahead, **values)

    def confirm(self) -> None:
        """Raise LeaseLost if the session has another holder."""
        self.write(lease_until=deadline())

    def forget(self, stored: Collection[UploadPart]) -> None:
        """Forget that these parts are dirty: their rows are committed."""
        self.dirty.commit(self._indexes(stored))

    def _indexes(self, stored: Collection[UploadPart]) -> list[int]:
        plan = self.session.plan
        return [plan.index(part.offset) for part in stored] if plan else []

    def _note_part(self, index: int) -> bool:
        self.write(lease_until=deadline(), **self._dirty_values(self.session.plan, index))
        return True

    def _dirty_values(self, plan: UploadPlan | None, index: int) -> dict[str, Any]:
        """Return the row values that record the next parts to write, from ``index`` on.

        Empty if no writes can arrive late, or if the session is not open.
        """
        if plan is None or not self.writes or self.session.state != State.OPEN:
            return {}
        return {"dirty_parts": self.dirty.expect(range(index, index + PARTS_AHEAD))}


def _nothing() -> None:
    return


@contextmanager
def acquire_lease(session: UploadSession, *, writes: bool = False, **extra: Any) -> Iterator[Lease]:
    """Hold ``session`` and write ``extra``; raise SessionBusy if an active writer holds it.

    ``writes`` is True if parts will be written to a store where they may arrive late.

    The body commits through the lease. If it raises an error, the session is released unchanged.
    """
    lease = _acquire(session, extra, writes=writes)
    try:
        with heartbeat.of(lease):
            yield lease
    except BaseException:
        lease.threads.settle()
        try:
            lease.release()
        except Error:
            logger.warning("session %s: could not be let go of; its lease runs out by itself", session.label)
        raise
    lease.threads.settle()


def request_handover(session: UploadSession, *, wait: bool = True) -> bool:
    """Request the handover of ``session`` from a holder that is receiving a chunk.

    With ``wait``, waits a limited time and reads the row again. Returns whether the session is free then. A holder
    whose client is sending continues, unless it is ``preemptible``.
    """
    if session.state != State.OPEN or session.lease_until is None:
        return True
    held = UploadSession.objects.filter(pk=session.pk, fence=session.fence, lease_until__gte=DatabaseNow())
    ends = time.monotonic() + conf.current().HAND_OVER_WAIT.total_seconds()
    if held.update(wanted_fence=session.fence) and wait:
        while held.exists() and time.monotonic() < ends:
            time.sleep(POLL_INTERVAL)
    if not wait:
        return False
    session.refresh_from_db()
    return session.state != State.OPEN or not held.exists()


def renewal_interval() -> float:
    """Return the number of seconds after which a writer renews its lease."""
    config = conf.current()
    return min(config.LEASE_DURATION, config.SESSION_LIFETIME).total_seconds() / 3


def extended_expiry(session: UploadSession, *, within: float = float("inf")) -> dict[str, Any]:
    """Return the row values that extend an open session about to expire.

    Empty unless it expires within ``within`` seconds.
    """
    now = timezone.now()
    if session.state != State.OPEN or (session.expires_at - now).total_seconds() > within:
        return {}
    return {"expires_at": fresh_expiry()}


def fresh_expiry() -> datetime:
    """Return the expiry time of an open session that is active now."""
    return timezone.now() + conf.current().SESSION_LIFETIME


def _acquire(session: UploadSession, extra: dict[str, Any], *, writes: bool) -> Lease:
    orphaned, plan = session.lease_until is not None, session.plan
    values: dict[str, Any] = {
        "fence": session.fence + 1,
        "lease_until": deadline(),
        **extended_expiry(session, within=2 * renewal_interval()),
        **extra,
    }
    lease = Lease(session)
    lease.fence += 1
    lease.writes = writes
    if plan:
        values |= lease._dirty_values(plan, plan.index(session.bytes_stored))  # noqa: SLF001 - this module's
    free = UploadSession.objects.idle().filter(pk=session.pk, fence=session.fence)
    if not free.update(**values):
        raise SessionBusy(retry_after=_seconds_left(session))
    for name, value in values.items():
        setattr(session, name, value)
    if orphaned:
        logger.warning("session %s: taken over from a writer that died", session.label)
        with suppress(Error):
            Move.objects.create(session=session, before=session.state, after=session.state, why=WRITER_DIED, who="")
        signals.lease_taken_over.send_robust(UploadSession, session=session)
    return lease


def _seconds_left(session: UploadSession) -> int:
    """Return the number of seconds until the session's lease expires, if not renewed."""
    rows = UploadSession.objects.filter(pk=session.pk, lease_until__isnull=False)
    held: Any = rows.annotate(now=DatabaseNow()).values("lease_until", "now").first()
    return max(1, ceil((held["lease_until"] - held["now"]).total_seconds())) if held else 1


def deadline() -> Any:
    """Return the expiry time of a lease that is renewed now, by the database's clock."""
    return DatabaseNow() + conf.current().LEASE_DURATION
