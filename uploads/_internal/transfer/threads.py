"""Store calls in threads: receiving continues while parts are being stored."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any, Protocol, TypeVar

from uploads._internal import conf
from uploads.exceptions import StoreUnavailable

Result = TypeVar("Result")


class OutOfTime(Exception):
    """The deadline passed before the store call ended."""


class WritePermission(Protocol):
    """The permission to write, which must be renewed periodically."""

    def renew(self) -> None:
        """Renew the permission; raise LeaseLost if it is too late."""

    def check(self) -> None:
        """Raise LeaseLost if the permission has expired by this host's clock; safe in any thread."""


class StoreThreads:
    """The threads for the store calls of one request.

    No call is waited for longer than ``STORE_TIMEOUT``.
    """

    deadline: float | None = None
    """Time on the monotonic clock at which waiting ends with OutOfTime; None means never.

    It is set if a client waits.
    """

    def __init__(self, right: WritePermission, *, count: int = 1) -> None:
        self.right = right
        self.count = count
        self._executor: ThreadPoolExecutor | None = None
        self._abandoned = False
        self._calls: set[Future[Any]] = set()

    def start(self, call: Callable[..., Result], *args: Any, **kwargs: Any) -> Future[Result]:
        """Begin a store call in a thread, in the context of the request: its span is the parent of the call's."""
        self._executor = self._executor or ThreadPoolExecutor(self.count, thread_name_prefix="uploads-store")
        future = self._executor.submit(copy_context().run, call, *args, **kwargs)
        self._calls.add(future)
        future.add_done_callback(self._calls.discard)
        return future

    def finish(self, future: Future[Result]) -> Result:
        """Wait for a store call, and renew the permission periodically."""
        patience_ends = time.monotonic() + conf.current().STORE_TIMEOUT.total_seconds()
        pause = conf.current().LEASE_DURATION.total_seconds() / 3
        while wait([future], timeout=max(0.0, min(pause, self._left(patience_ends)))).not_done:
            if self._left(patience_ends) <= 0:
                self._abandoned = True
                raise StoreUnavailable if time.monotonic() >= patience_ends else OutOfTime
            self.right.renew()
        return future.result()

    def _left(self, patience_ends: float) -> float:
        return min(patience_ends, self.deadline or patience_ends) - time.monotonic()

    def call(self, call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Make a store call and wait for it."""
        return self.finish(self.start(call, *args, **kwargs))

    def each(self, calls: Iterable[Callable[[], Result]]) -> Iterator[Result]:
        """Make store calls, as many at a time as there are threads; yield their results in order."""
        under_way: deque[Future[Result]] = deque()
        for call in calls:
            if len(under_way) == self.count:
                yield self.finish(under_way.popleft())
            under_way.append(self.start(call))
        while under_way:
            yield self.finish(under_way.popleft())

    def settle(self) -> None:
        """Wait for running store calls, so that nothing of this request happens later.

        Abandoned calls are not waited for. A call that hangs is waited for at most ``STORE_TIMEOUT``.
        """
        if self._executor:
            hanging: Any = ()
            if not self._abandoned:
                hanging = wait(list(self._calls), timeout=conf.current().STORE_TIMEOUT.total_seconds()).not_done
            if hanging:
                self._abandoned = True
            self._executor.shutdown(wait=not self._abandoned, cancel_futures=True)
            self._executor = None
