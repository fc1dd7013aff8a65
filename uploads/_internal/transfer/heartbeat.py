"""Renew all leases of a process and notice handover requests, in one thread.

The requests cannot do this themselves: they wait for a store, or for a client that may never send again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from django.db import connections

from uploads._internal import conf
from uploads._internal.clock import DatabaseNow
from uploads._internal.forks import after_fork
from uploads._internal.transfer.transactions import alias
from uploads.models import UploadSession

logger = logging.getLogger(__name__)

BEAT = 1.0
"""Seconds between two rounds."""


class Held(Protocol):
    """A lease, as the heartbeat needs it."""

    session: UploadSession
    fence: int
    lost: bool
    wanted: bool
    preemptible: bool
    locks_row: bool
    renewed: float

    @property
    def interrupt(self) -> Callable[[], None]: ...

    @property
    def is_listening(self) -> bool: ...

    @property
    def is_silent(self) -> bool: ...


class Heartbeat:
    """Renew the leases of this process, and notice requests for a handover."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[Held] = set()
        self._thread: threading.Thread | None = None
        self._given: set[Held] = set()
        """Leases whose holders were interrupted for a handover."""

    @contextmanager
    def of(self, lease: Held) -> Iterator[None]:
        """Maintain ``lease`` during the block."""
        with self._lock:
            self._held.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="uploads-heartbeat", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(lease)
                self._given.discard(lease)

    def _run(self) -> None:
        while True:
            time.sleep(BEAT)
            with self._lock:
                held = list(self._held)
                if not held:
                    self._thread = None
                    break
            try:
                self._beat(held)
            except Exception as error:
                # Requests renew their leases themselves while they make progress, and the next round tries again.
                logger.debug("heartbeat: %s", error)
                connections.close_all()
        connections.close_all()

    def _beat(self, held: list[Held]) -> None:
        connection: Any = connections[alias()]
        if connection.vendor == "sqlite" and connection.is_in_memory_db():
            return  # No other process has this database, and this thread could not close its connection to it.
        rows = UploadSession.objects.filter(pk__in=[lease.session.pk for lease in held])
        seen = {pk: (fence, wanted) for pk, fence, wanted in rows.values_list("pk", "fence", "wanted_fence")}
        for lease in held:
            fence, wanted = seen.get(lease.session.pk, (None, None))
            if fence is None:
                continue  # The row is not committed yet, or not visible to this thread.
            if fence != lease.fence:
                self._lose(lease)
            elif (
                wanted == fence
                and lease.is_listening
                and (lease.is_silent or lease.preemptible or lease in self._given)
            ):
                self._hand_over(lease)
            else:
                self._renew(lease)

    def _renew(self, lease: Held) -> None:
        """Renew the lease for a holder that cannot do so at the moment."""
        asked = time.monotonic()
        lasts = conf.current().LEASE_DURATION
        if asked - lease.renewed > lasts.total_seconds() / 3 and not lease.locks_row:
            same = UploadSession.objects.filter(pk=lease.session.pk, fence=lease.fence)
            if same.update(lease_until=DatabaseNow() + lasts):
                lease.renewed = asked

    def _hand_over(self, lease: Held) -> None:
        """Interrupt the holder's reading, so that it releases the session.

        The holder keeps the bytes that its protocol allows. If it continues to read, the session is released for it.
        """
        with self._lock:
            if lease not in self._held or not lease.is_listening:
                return  # The holder has released the session, or is working.
            if lease not in self._given:
                logger.info("session %s: somebody else asked for it while its client was silent", lease.session.label)
                self._given.add(lease)
                lease.wanted = True
                lease.interrupt()
                return
        # The server does not support interrupting the reading.
        lease.lost = True
        same = UploadSession.objects.filter(pk=lease.session.pk, fence=lease.fence)
        same.update(fence=lease.fence + 1, lease_until=None)

    def _lose(self, lease: Held) -> None:
        with self._lock:
            if lease not in self._held:
                return  # The holder has just released the session.
            lease.lost = True
            if lease.is_listening:
                lease.interrupt()

    def forget(self) -> None:
        """Reset the state after a fork: thread and leases belong to the parent process."""
        self.__init__()  # type: ignore[misc]


heartbeat = Heartbeat()

after_fork(heartbeat.forget)
