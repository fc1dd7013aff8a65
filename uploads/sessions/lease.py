"""The right to write to a session: one holder at a time, across processes and hosts, with the database alone.

A lease is a deadline on the row, by the database's clock, and a fencing number that grows with every change
of hands. A holder that lost it cannot commit: every write to the row names the fencing number. It cannot
damage the store either: a part number that a lost holder may still be writing to is never used again, and
where parts are written in place, each write happens under a lock that a newcomer waits for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db.models.functions import Now

from uploads import conf, signals
from uploads.exceptions import LeaseLost, PartsExhausted, SessionBusy, StoreUnavailable
from uploads.models import UploadSession
from uploads.parts import MAX_PARTS

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

RESERVATION = 16
"""Part numbers reserved at a time once the first reservation is used up."""


class Lease:
    """A held session. Store calls run in its thread, so that the lease is kept alive while they take their time."""

    def __init__(self, session: UploadSession, *, first_number: int) -> None:
        self.session = session
        self.next_number = first_number
        self._first_number = first_number
        self._renewed = time.monotonic()
        self._executor: ThreadPoolExecutor | None = None
        self._latest: Future[Any] | None = None

    def take_number(self) -> int:
        """Return a part number that no other writer uses or ever used."""
        if self.next_number > self.session.last_number:
            self._write(last_number=_reserve(self.session, RESERVATION), lease_until=_deadline())
            if self.next_number > self.session.last_number:
                raise PartsExhausted
        self.next_number += 1
        return self.next_number - 1

    def renew(self) -> None:
        """Prolong the lease if a third of it has passed; raise LeaseLost if it is somebody else's."""
        if time.monotonic() - self._renewed > conf.current().LEASE_DURATION.total_seconds() / 3:
            self._write(lease_until=_deadline())

    def check(self) -> None:
        """Raise LeaseLost if the lease has run out by this host's clock, asking nobody; safe in any thread."""
        if time.monotonic() - self._renewed >= conf.current().LEASE_DURATION.total_seconds():
            raise LeaseLost

    def start(self, call: Callable[..., Result], *args: Any, **kwargs: Any) -> Future[Result]:
        """Begin a store call beside the caller."""
        self._executor = self._executor or ThreadPoolExecutor(max_workers=1, thread_name_prefix="uploads-store")
        future = self._executor.submit(call, *args, **kwargs)
        self._latest = future
        return future

    def finish(self, future: Future[Result]) -> Result:
        """Wait for a store call, keeping the lease alive."""
        pause = conf.current().LEASE_DURATION.total_seconds() / 3
        while wait([future], timeout=pause).not_done:
            self.renew()
        return future.result()

    def call(self, call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Make a store call, keeping the lease alive meanwhile."""
        return self.finish(self.start(call, *args, **kwargs))

    def commit(self, *, keep: bool = False, **values: Any) -> None:
        """Write to the row as the holder, and let go of it unless ``keep``; raise LeaseLost if not the holder."""
        self._write(lease_until=_deadline() if keep else None, last_number=self.next_number - 1, **values)

    def settle(self) -> None:
        """Wait for the store call still under way, so that nothing of this holder happens later."""
        if self._executor:
            self._executor.shutdown(wait=True)
            self._executor = None

    def release(self) -> None:
        """Let go of the session as it was, but for the part numbers of a call that may still take effect."""
        unsettled = self._latest is not None and isinstance(self._latest.exception(), StoreUnavailable)
        last_number = self.session.last_number if unsettled else self._first_number - 1
        self.session.change(lease_until=None, last_number=last_number)

    def _write(self, **values: Any) -> None:
        asked = time.monotonic()
        if not self.session.change(**values):
            raise LeaseLost
        self._renewed = asked


@contextmanager
def hold(session: UploadSession, *, reserve: int = 1) -> Iterator[Lease]:
    """Hold ``session``, reserving part numbers; raise SessionBusy if a living writer has it.

    The body commits through the lease. If it raises, the session is let go as it was.
    """
    lease = _acquire(session, reserve)
    try:
        yield lease
    except BaseException:
        lease.settle()
        lease.release()
        raise
    lease.settle()


def _acquire(session: UploadSession, reserve: int) -> Lease:
    first_number, orphaned = session.last_number + 1, session.lease_until is not None
    values = {
        "fence": session.fence + 1,
        "lease_until": _deadline(),
        "last_number": _reserve(session, reserve),
    }
    free = UploadSession.objects.idle().filter(pk=session.pk, fence=session.fence, state=session.state)
    if not free.update(**values):
        raise SessionBusy
    for name, value in values.items():
        setattr(session, name, value)
    if orphaned:
        logger.warning("session %s: taken over from a writer that died", session.pk)
        signals.lease_taken_over.send(UploadSession, session=session)
    return Lease(session, first_number=first_number)


def _reserve(session: UploadSession, count: int) -> int:
    return min(session.last_number + count, MAX_PARTS)


def _deadline() -> Any:
    return Now() + conf.current().LEASE_DURATION
