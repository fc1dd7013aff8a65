"""How many chunk requests of one user a process serves at a time: who drips must not keep all threads to himself."""

from __future__ import annotations

import threading
from collections import Counter

from uploads import conf
from uploads.exceptions import TooManyRequests

_lock = threading.Lock()
_taken: Counter[str] = Counter()


class Turn:
    """One request's turn, which nobody has yet."""

    def __init__(self) -> None:
        self._owner: str | None = None

    def take(self, owner_key: str) -> None:
        """Take the turn for a session's owner; raise TooManyRequests if that is one too many."""
        most = conf.current().UPLOAD_THREADS
        with _lock:
            if _taken[owner_key] >= most:
                raise TooManyRequests(maximum=most)
            _taken[owner_key] += 1
            self._owner = owner_key

    def end(self) -> None:
        if self._owner is not None:
            with _lock:
                _taken[self._owner] -= 1
                if not _taken[self._owner]:
                    del _taken[self._owner]
