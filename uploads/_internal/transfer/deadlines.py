"""Calls that a request waits for, but not for ever: of a store, of a broker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from uploads._internal import conf
from uploads._internal.forks import after_fork
from uploads.exceptions import StoreUnavailable

Result = TypeVar("Result")

MOST = 64
"""Calls of a process at a time; those that hang stay, and once so many do, further ones end with their deadline."""


class CallTimeout(Exception):
    """The call takes longer than it may; it may still take effect."""


class Caller:
    """Makes calls in threads of their own, which end with the process."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._reset()
        after_fork(self._reset)

    def _reset(self) -> None:
        self._free = threading.BoundedSemaphore(self._most)

    def call(self, seconds: float, call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Make a call; raise CallTimeout if it takes longer than ``seconds``."""
        free = self._free
        timeout = f"no answer after {seconds:g} seconds"
        if not free.acquire(timeout=seconds):
            raise CallTimeout(timeout)
        future: Future[Result] = Future()

        def run() -> None:
            try:
                future.set_result(call(*args, **kwargs))
            except BaseException as error:  # It is raised where it is waited for.
                future.set_exception(error)
            finally:
                free.release()

        try:
            threading.Thread(target=run, name="uploads-call", daemon=True).start()
        except RuntimeError as error:  # The system gives no more threads.
            free.release()
            raise CallTimeout(str(error)) from error
        try:
            return future.result(seconds)
        except TimeoutError as error:
            if future.done():
                return future.result()  # or the call's own TimeoutError
            raise CallTimeout(timeout) from error


_store_calls = Caller()


def call_with_timeout(call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Make a store call; raise StoreUnavailable if it takes longer than ``STORE_TIMEOUT``: it may still take effect."""
    try:
        return _store_calls.call(conf.current().STORE_TIMEOUT.total_seconds(), call, *args, **kwargs)
    except CallTimeout as error:
        raise StoreUnavailable from error
