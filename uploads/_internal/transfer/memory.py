"""Limit the memory for part buffers in this process, for all requests together.

Memory is reserved as buffers fill. Requests that find none free queue up and are served in the order of their arrival.

Half-filled buffers could wait for each other forever. Therefore the first request in the queue may exceed the limit,
one request at a time. The process then takes the limit plus the two buffers of one request.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from uploads._internal import conf
from uploads._internal.forks import after_fork
from uploads.exceptions import UploadError

TICK = 1.0
"""Seconds after which a waiting request renews its lease."""

_turn = threading.Condition()
_queue: deque[MemoryReservation] = deque()
_used = 0
_ahead: MemoryReservation | None = None
"""The reservation that may exceed the limit."""


@after_fork
def _reset() -> None:
    global _turn, _used, _ahead
    _turn, _used, _ahead = threading.Condition(), 0, None
    _queue.clear()


class OutOfMemory(UploadError):
    code = "server_busy"
    status = 503
    text = "The server is receiving too many uploads at the moment; send the chunk again."
    retry_after = 5
    passing = True


class MemoryReservation:
    """The buffer memory that one request holds, in bytes."""

    def __init__(self) -> None:
        self.size = 0

    def grow(self, size: int, tick: Callable[[], object]) -> None:
        """Reserve ``size`` more bytes; call ``tick`` periodically while waiting for them.

        Raises OutOfMemory if they do not become free in time.
        """
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
        """Release ``size`` bytes."""
        global _used, _ahead
        with _turn:
            size = min(size, self.size)  # An abandoned store call may end after all bytes are released.
            self.size -= size
            _used -= size
            if _ahead is self and not self.size:
                _ahead = None
            _turn.notify_all()

    def close(self) -> None:
        """Release all remaining bytes."""
        self.shrink(self.size)

    def _wait(self, size: int, deadline: float) -> bool:
        """Wait for at most ``TICK`` seconds; return whether the bytes are reserved then."""
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
