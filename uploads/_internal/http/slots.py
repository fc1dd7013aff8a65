"""Limit the requests of a client that a process reads at a time.

Without a limit, slow clients could occupy every thread.
"""

from __future__ import annotations

import threading
from collections import Counter

from uploads._internal import conf
from uploads._internal.forks import after_fork
from uploads._internal.http.exceptions import TooManyRequests

ANONYMOUS = 4
"""Maximum number of concurrent requests of one address that send a body before a login."""
REFUSED = 4
"""Maximum number of refused requests, of all clients, whose remaining body is read concurrently.

Their clients can read the response only after the body.
"""

_lock = threading.Lock()
_held: Counter[str] = Counter()


@after_fork
def _reset() -> None:
    global _lock
    _lock = threading.Lock()
    _held.clear()


class RequestSlot:
    """The slot of one request among the slots of its user or address."""

    def __init__(self) -> None:
        self._key: str | None = None

    def acquire(self, owner_key: str) -> None:
        """Acquire a slot of a user unless the request has one; raise TooManyRequests."""
        self._acquire(owner_key, conf.current().UPLOAD_THREADS)

    def acquire_for_address(self, address: str) -> None:
        """Acquire a slot of a client that is not logged in; raise TooManyRequests."""
        self._acquire(f"address {address}", ANONYMOUS)

    def acquire_to_drain(self) -> bool:
        """Acquire a slot to read the rest of a refused request.

        Return whether the request has a slot.
        """
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
