"""A deadline for the store calls that a request makes itself, beside those of its threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from uploads import conf
from uploads.exceptions import StoreUnavailable

Result = TypeVar("Result")

_threads = ThreadPoolExecutor(64, thread_name_prefix="uploads-call")
"""Those that hang stay here, and keep no request; once all do, calls are refused after the same time."""


def waited_for(call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Make a store call; raise StoreUnavailable if it takes longer than ``STORE_TIMEOUT``: it may still take effect."""
    future = _threads.submit(call, *args, **kwargs)
    try:
        return future.result(conf.current().STORE_TIMEOUT.total_seconds())
    except TimeoutError as error:
        if future.done():
            raise  # the call's own
        future.cancel()
        raise StoreUnavailable from error
