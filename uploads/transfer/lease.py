"""The right to write to a session: one holder at a time, across processes and hosts, with the database alone.

A lease is a deadline on the row, by the database's clock, and a fencing number that grows with every change
of hands, so that it is also the version of the row: what was read before a change of hands cannot be acted on.
A holder that lost it cannot commit: every write to the row names the fencing number. It cannot damage the store
either: a part number that a lost holder may still be writing to is never used again, and where parts are written
in place, each write happens under a lock that a newcomer waits for. Only where the store completes no upload that has
parts nobody names (``Store.allows_strays``), such a number is used again, for the same bytes if the client sends them
again: a straggler can then make the store refuse the file, but never publish others, for ETags are named and checked.

A newcomer asks the holder through the row (``ask``). A holder whose client is silent lets go, which is how a client
that comes back gets its session although the connection of its old request has not been closed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import ceil
from typing import Any

from django.db import Error, transaction
from django.utils import timezone

from uploads import conf, parts, signals
from uploads.clock import DatabaseNow
from uploads.exceptions import LeaseLost, PartsExhausted, SessionBusy
from uploads.models import Mode, Move, State, UploadSession
from uploads.parts import MAX_PARTS
from uploads.stores import get_store
from uploads.transfer.heartbeat import heartbeat
from uploads.transfer.places import Place, begin_segment, composes, first_segment, is_larger, place_of
from uploads.transfer.threads import StoreThreads
from uploads.transfer.transactions import alias, give_back, reconnect

logger = logging.getLogger(__name__)

RESERVATION = 64
"""Part numbers reserved at a time, at most: so many are lost when a process dies."""
SILENCE = 1.0
"""Seconds after which a client that sends nothing may have gone."""
WRITER_DIED = "taken over from a writer that died"
LOOK_AGAIN = 0.1
"""Seconds between two looks whether a holder that was asked has let go."""


class Lease:
    """A held session. Its heartbeat keeps it while the client or the store takes its time."""

    def __init__(self, session: UploadSession, *, first_number: int) -> None:
        self.session = session
        self.fence = session.fence
        self.numbers = ReservedNumbers(self, first_number)
        self.threads = StoreThreads(self, count=conf.current().PARALLEL_PARTS)
        self.lost = False
        """Whether the row has changed hands."""
        self.wanted = False
        """Whether somebody else asked for the session and gets it."""
        self.interrupt: Callable[[], None] = _nothing
        """Ends the reading of the body that the holder waits for."""
        self.is_sending: Callable[[], bool] = bool
        """Tells whether the client sent something a moment ago, if that can be known."""
        self.yields = False
        """Whether somebody who asks gets the session although the client is sending at the moment."""
        self.locks_row = False
        """Whether the holder has the row locked, so that nobody else need, or can, show a sign of life for it."""
        self.renewed = time.monotonic()
        self._silent_since: float | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note that the client is waited for meanwhile."""
        give_back()
        self._silent_since = time.monotonic()
        try:
            yield
        finally:
            self._silent_since = None

    @property
    def is_listening(self) -> bool:
        """Whether the client is waited for at the moment."""
        return self._silent_since is not None

    @property
    def is_silent(self) -> bool:
        since = self._silent_since
        return since is not None and time.monotonic() - since > SILENCE and not self.is_sending()

    def renew(self) -> None:
        """Prolong lease and session if it is time to; raise LeaseLost if the lease is somebody else's."""
        if self.lost:
            raise LeaseLost
        if time.monotonic() - self.renewed > renewal_interval():
            self.write(lease_until=deadline(), **prolonged(self.session))

    def check(self) -> None:
        if self.lost or time.monotonic() - self.renewed >= conf.current().LEASE_DURATION.total_seconds():
            raise LeaseLost

    def commit(self, *, keep: bool = False, **values: Any) -> None:
        """Write to the row as the holder, and let go of it unless ``keep``; raise LeaseLost if not the holder."""
        values["last_number"] = self.numbers.following - 1
        if keep:
            self.write(lease_until=deadline(), **values)
        elif not self.session.change(held=False, **values):
            raise LeaseLost
        self.numbers.first = self.numbers.following

    def release(self) -> None:
        """Let go of the session, if it is still held, but for the part numbers that may still be written to."""
        self.session.fence = self.fence  # as in the row, if a transaction that let go was rolled back
        used = self.numbers.following if self.threads.unsettled else self.numbers.first
        reconnect()
        self.session.change(held=False, last_number=used - 1)

    def write(self, *, unless_numbered: bool = False, **values: Any) -> None:
        asked = time.monotonic()
        if not self.session.change(unless_numbered=unless_numbered, **values):
            raise LeaseLost
        self.renewed = asked


class ReservedNumbers:
    """Part numbers of a holder, reserved on the row a few at a time."""

    def __init__(self, lease: Lease, first: int) -> None:
        self.first = self.following = first
        self.in_pieces = False
        """Whether bytes become pieces, because they may turn out to be a duplicate."""
        self._lease = lease
        self._place: Place | None = None

    @property
    def place(self) -> Place:
        session = self._lease.session
        if self._place is None:
            self._place = place_of(session, get_store(session.storage), session.segment)
        return self._place

    def take(self, offset: int, size: int) -> int | None:
        if self.in_pieces:
            return None
        session = self._lease.session
        if offset < session.segment_start:  # The chunk that began the segment was dropped.
            self._lease.write(segment_start=offset, lease_until=deadline())
        if self._begins_segment(offset - session.segment_start, size):
            self._begin_segment(offset)
        if self.following > session.last_number:
            reserved = min(session.last_number + RESERVATION, MAX_PARTS)
            self._lease.write(unless_numbered=True, last_number=reserved, lease_until=deadline())
            if self.following > session.last_number:
                raise PartsExhausted
        self.following += 1
        return self.following - 1

    def _begins_segment(self, before: int, size: int) -> bool:
        """Tell whether a part of ``size`` bytes goes into another segment than the ``before`` bytes of this one."""
        session = self._lease.session
        if session.segmented or is_larger(session):
            full = parts.begins_segment(self.following, before, size)
        else:  # All of the file was to go into one upload.
            full = self.following > parts.limits.most_parts
        return full and (session.segmented or composes(get_store(session.storage)))

    def _begin_segment(self, offset: int) -> None:
        """Go on in another multipart upload at ``offset``, because this one has no part numbers to spare."""
        session = self._lease.session
        # Numbered chunks that came to nothing may have begun some.
        index = max(session.segment, *session.segments.values_list("index", flat=True), 0) + 1
        store = get_store(session.storage)
        begun = [begin_segment(session, store, index)] if store.limits_parts else []
        values: dict[str, Any] = {"segment": index, "segment_start": offset, "last_number": 0, "committed_number": 0}
        if not session.segmented:
            values["segmented"] = True
            if begun:
                begun.append(first_segment(session))
                values["upload_id"] = ""
        with transaction.atomic(using=alias()):
            self._lease.write(lease_until=deadline(), **values)
            for segment in begun:
                segment.save(force_insert=True)
        self.first = self.following = 1
        self._place = None


def _nothing() -> None:
    return


@contextmanager
def hold(session: UploadSession, *, reserve: int = 1, **extra: Any) -> Iterator[Lease]:
    """Hold ``session``, reserving part numbers and writing ``extra``; raise SessionBusy if a living writer has it.

    The body commits through the lease. If it raises, the session is let go as it was.
    """
    lease = _acquire(session, reserve, extra)
    try:
        with heartbeat.of(lease):
            yield lease
    except BaseException:
        lease.threads.settle()
        try:
            lease.release()
        except Error:
            logger.warning("session %s: could not be let go of; its lease runs out by itself", session.pk)
        raise
    lease.threads.settle()


def ask(session: UploadSession, *, wait: bool = True) -> bool:
    """Ask whoever is receiving a chunk of ``session`` to let go; ``wait`` for it a little, and read the row anew.

    Tells whether nobody has it then. A holder whose client sends at the moment goes on, unless it ``yields``.
    """
    if session.state != State.OPEN or session.lease_until is None:
        return True
    held = UploadSession.objects.filter(pk=session.pk, fence=session.fence, lease_until__gte=DatabaseNow())
    ends = time.monotonic() + conf.current().HAND_OVER_WAIT.total_seconds()
    if held.update(wanted_fence=session.fence) and wait:
        while held.exists() and time.monotonic() < ends:
            time.sleep(LOOK_AGAIN)
    if not wait:
        return False
    session.refresh_from_db()
    return session.state != State.OPEN or not held.exists()


def renewal_interval() -> float:
    """Return after how many seconds a writer shows a sign of life."""
    config = conf.current()
    return min(config.LEASE_DURATION, config.SESSION_LIFETIME).total_seconds() / 3


def prolonged(session: UploadSession, *, within: float = float("inf")) -> dict[str, Any]:
    """Return what keeps an open session from expiring while somebody is at it, if it would do so within seconds."""
    now = timezone.now()
    if session.state != State.OPEN or (session.expires_at - now).total_seconds() > within:
        return {}
    return {"expires_at": now + conf.current().SESSION_LIFETIME}


def _acquire(session: UploadSession, reserve: int, extra: dict[str, Any]) -> Lease:
    orphaned, last_number = session.lease_until is not None, _burnt(session)
    first_number = last_number + 1
    values = {
        "fence": session.fence + 1,
        "lease_until": deadline(),
        "last_number": min(last_number + min(reserve, RESERVATION), MAX_PARTS),
        **prolonged(session, within=2 * renewal_interval()),
        **extra,
    }
    free = UploadSession.objects.idle().filter(pk=session.pk, fence=session.fence)
    if session.mode == Mode.UNDECIDED:  # Numbered chunks that come at the same moment take part numbers, too.
        free = free.filter(numbered_number=session.numbered_number)
    if not free.update(**values):
        raise SessionBusy(retry_after=_seconds_left(session))
    for name, value in values.items():
        setattr(session, name, value)
    if orphaned:
        logger.warning("session %s: taken over from a writer that died", session.pk)
        with suppress(Error):
            Move.objects.create(session=session, before=session.state, after=session.state, why=WRITER_DIED, who="")
        signals.lease_taken_over.send_robust(UploadSession, session=session)
    return Lease(session, first_number=first_number)


def _seconds_left(session: UploadSession) -> int:
    """Return after how many seconds the session is free even if its writer shows no more sign of life."""
    rows = UploadSession.objects.filter(pk=session.pk, lease_until__isnull=False)
    held: Any = rows.annotate(now=DatabaseNow()).values("lease_until", "now").first()
    return max(1, ceil((held["lease_until"] - held["now"]).total_seconds())) if held else 1


def _burnt(session: UploadSession) -> int:
    """Return the highest part number that must not be used again."""
    last = max(session.last_number, session.numbered_number)
    if last > session.committed_number and not get_store(session.storage).allows_strays:
        return session.committed_number
    return last


def deadline() -> Any:
    """Return when a right to write that is shown no more sign of life runs out, by the database's clock."""
    return DatabaseNow() + conf.current().LEASE_DURATION
