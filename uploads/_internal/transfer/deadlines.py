"""Calls to a store or a broker, with a limited wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, TypeVar

from uploads._internal import conf
from uploads._internal.forks import after_fork
from uploads.exceptions import StoreUnavailable

Result = TypeVar("Result")

MOST = 64
"""Maximum number of concurrent calls in a process.

A call that hangs keeps its slot. Once all slots hang, further calls end with their deadline.
"""


class CallTimeout(Exception):
    """The call takes longer than allowed; it may still take effect."""


class Caller:
    """Make calls in threads of their own, which end with the process."""

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
            except BaseException as error:  # ``future.result`` raises it in the waiting thread.
                future.set_exception(error)
            finally:
                free.release()

        try:
            threading.Thread(target=copy_context().run, args=(run,), name="uploads-call", daemon=True).start()
        except RuntimeError as error:  # The system allows no more threads.
            free.release()
            raise CallTimeout(str(error)) from error
        try:
            return future.result(seconds)
        except TimeoutError as error:
            if future.done():
                return future.result()  # Raises the call's own TimeoutError, if that was it.
            raise CallTimeout(timeout) from error


_store_calls = Caller()


def call_with_timeout(call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Make a store call; raise StoreUnavailable if it takes longer than ``STORE_TIMEOUT``.

    It may still take effect.
    """
    try:
        return _store_calls.call(conf.current().STORE_TIMEOUT.total_seconds(), call, *args, **kwargs)
    except CallTimeout as error:
        raise StoreUnavailable from error
