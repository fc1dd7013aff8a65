"""Store calls beside the caller: receiving goes on while a part is being stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from uploads import conf
from uploads.exceptions import StoreUnavailable

Result = TypeVar("Result")


class OutOfTime(Exception):
    """The deadline passed while the store was still at it."""


class StoreCalls:
    """One thread for the store calls of one request. Subclasses give out part numbers and keep a lease alive."""

    deadline: float | None = None
    """When waiting for a store call ends with OutOfTime, on the monotonic clock; None means never."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._latest: Future[Any] | None = None
        self._abandoned = False

    def take_number(self) -> int | None:
        """Return a part number that no other writer uses or ever used; None if there is none left."""
        raise NotImplementedError

    def renew(self) -> None:
        """Show a sign of life; raise LeaseLost if it comes too late."""

    def check(self) -> None:
        """Raise LeaseLost if the right to write has run out by this host's clock; safe in any thread."""

    def start(self, call: Callable[..., Result], *args: Any, **kwargs: Any) -> Future[Result]:
        """Begin a store call."""
        self._executor = self._executor or ThreadPoolExecutor(max_workers=1, thread_name_prefix="uploads-store")
        future = self._executor.submit(call, *args, **kwargs)
        self._latest = future
        return future

    def finish(self, future: Future[Result]) -> Result:
        """Wait for a store call, showing signs of life."""
        pause = conf.current().LEASE_DURATION.total_seconds() / 3
        while wait([future], timeout=min(pause, self._left())).not_done:
            if not self._left():
                self._abandoned = True
                raise OutOfTime
            self.renew()
        return future.result()

    def _left(self) -> float:
        return float("inf") if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def call(self, call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Make a store call."""
        return self.finish(self.start(call, *args, **kwargs))

    def settle(self) -> None:
        """Wait for the store call still under way, so that nothing of this request happens later.

        One that was abandoned at the deadline is not waited for; only what may be repeated has a deadline.
        """
        if self._executor:
            self._executor.shutdown(wait=not self._abandoned)
            self._executor = None

    @property
    def unsettled(self) -> bool:
        """Whether the latest store call ended without telling whether it took effect."""
        if self._latest is None or self._abandoned:
            return self._abandoned
        error = self._latest.exception()
        return isinstance(error, StoreUnavailable) and error.unknown
