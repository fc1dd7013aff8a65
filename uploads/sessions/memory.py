"""The memory that part buffers may take in this process, all requests together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from uploads import conf
from uploads.exceptions import OutOfMemory

_free = threading.Condition()
_used = 0


@contextmanager
def reserved(size: int) -> Iterator[None]:
    """Hold ``size`` bytes of the budget; wait for them, and raise OutOfMemory if they do not become free in time.

    A request that is larger than the whole budget is served when it is alone.
    """
    global _used
    config = conf.current()
    with _free:
        if not _free.wait_for(
            lambda: _used == 0 or _used + size <= config.MAX_BUFFER_MEMORY, config.BUFFER_WAIT.total_seconds()
        ):
            raise OutOfMemory
        _used += size
    try:
        yield
    finally:
        with _free:
            _used -= size
            _free.notify_all()
