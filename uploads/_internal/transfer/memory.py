"""The memory that part buffers may take in this process, all requests together; taken as it is filled.

Requests that find none queue up, and are served in the order in which they came. So that buffers which are half full
and wait for each other do not wait for ever, the first in the queue may go beyond the bound, one at a time: then the
process takes the bound and the two buffers of one request.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from uploads._internal import conf
from uploads._internal.forks import after_fork
from uploads.exceptions import OutOfMemory

TICK = 1.0
"""Seconds after which one that waits shows a sign of life."""

_turn = threading.Condition()
_queue: deque[MemoryReservation] = deque()
_used = 0
_ahead: MemoryReservation | None = None
"""The one that may go beyond the bound."""


@after_fork
def _reset() -> None:
    global _turn, _used, _ahead
    _turn, _used, _ahead = threading.Condition(), 0, None
    _queue.clear()


class MemoryReservation:
    """What one request holds of the memory for buffers, in bytes."""

    def __init__(self) -> None:
        self.size = 0

    def grow(self, size: int, tick: Callable[[], object]) -> None:
        """Take ``size`` bytes more; wait for them, calling ``tick``, and raise OutOfMemory if none get free in time."""
        with _turn:
            if (_ahead is self or not _queue) and self._take(size):
                return
            _queue.append(self)
        deadline = time.monotonic() + conf.current().BUFFER_WAIT.total_seconds()
        try:
            while not self._wait(size, deadline):
                tick()
        finally:
            with _turn:
                _queue.remove(self)
                _turn.notify_all()

    def shrink(self, size: int) -> None:
        """Give ``size`` bytes back."""
        global _used, _ahead
        with _turn:
            size = min(size, self.size)  # A store call that was abandoned may end after all is given back.
            self.size -= size
            _used -= size
            if _ahead is self and not self.size:
                _ahead = None
            _turn.notify_all()

    def close(self) -> None:
        """Give back all that is left."""
        self.shrink(self.size)

    def _wait(self, size: int, deadline: float) -> bool:
        """Wait for a while; tell whether the bytes are taken then."""
        global _ahead
        with _turn:
            if _queue[0] is self:
                if self._take(size):
                    return True
                if _ahead is None:
                    _ahead = self
                    return self._take(size)
            left = deadline - time.monotonic()
            if left <= 0:
                raise OutOfMemory
            _turn.wait(min(left, TICK))
            return False

    def _take(self, size: int) -> bool:
        global _used
        if _ahead is not self and _used + size > conf.current().MAX_BUFFER_MEMORY:
            return False
        self.size += size
        _used += size
        return True
