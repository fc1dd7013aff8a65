"""Limit how many requests of a client a process reads at a time, so that slow clients cannot occupy every thread."""

from __future__ import annotations

import threading
from collections import Counter

from uploads._internal import conf
from uploads._internal.forks import after_fork
from uploads._internal.http.exceptions import TooManyRequests

ANONYMOUS = 4
"""Requests of one address that send a body before a login."""
REFUSED = 4
"""Refused requests of all clients together whose remaining body is read, so that they can read their answer."""

_lock = threading.Lock()
_held: Counter[str] = Counter()


@after_fork
def _reset() -> None:
    global _lock
    _lock = threading.Lock()
    _held.clear()


class RequestSlot:
    """The place of one request among those of its user or address."""

    def __init__(self) -> None:
        self._key: str | None = None

    def acquire(self, owner_key: str) -> None:
        """Acquire a slot of a user unless the request has one; raise TooManyRequests if all are taken."""
        self._acquire(owner_key, conf.current().UPLOAD_THREADS)

    def acquire_for_address(self, address: str) -> None:
        """Acquire a slot of a client that is not logged in; raise TooManyRequests if all are taken."""
        self._acquire(f"address {address}", ANONYMOUS)

    def acquire_to_drain(self) -> bool:
        """Acquire a slot to read the rest of a refused request; return whether the request has one."""
        try:
            self._acquire("refused", REFUSED)
        except TooManyRequests:
            return False
        return True

    def _acquire(self, key: str, most: int) -> None:
        if self._key is not None:
            return
        with _lock:
            if _held[key] >= most:
                raise TooManyRequests(maximum=most)
            _held[key] += 1
        self._key = key

    def release(self) -> None:
        if self._key is not None:
            with _lock:
                _held[self._key] -= 1
                if not _held[self._key]:
                    del _held[self._key]
