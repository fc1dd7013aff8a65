"""Spans for OpenTelemetry, made where the portal has installed ``opentelemetry-api``.

Their attributes name no files, users or URLs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from uploads import signals
from uploads.exceptions import UploadError

try:
    from opentelemetry import trace
except ImportError:
    _tracer = None
else:
    _tracer = trace.get_tracer("uploads")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_attributes: ContextVar[dict[str, Any] | None] = ContextVar("uploads_attributes", default=None)
"""The attributes of the current span."""


@contextmanager
def span(name: str, **attributes: Any) -> Iterator[dict[str, Any]]:
    """Run the block in a span; the block may add attributes to the dictionary."""
    if _tracer is None:
        yield attributes
        return
    attributes = _inherited() | attributes
    # An exception's text may have the name of a file, so only its code is recorded.
    with _tracer.start_as_current_span(
        f"uploads.{name}", record_exception=False, set_status_on_exception=False
    ) as current:
        token = _attributes.set(attributes)
        try:
            yield attributes
        except BaseException as error:
            note_error(error)
            raise
        finally:
            _attributes.reset(token)
            current.set_attributes(_named(attributes))
            if attributes.get("code") and attributes.get("status", 500) >= 500:
                current.set_status(trace.StatusCode.ERROR)


def traced(
    name: str,
) -> Callable[[Callable[Concatenate[Any, Parameters], Result]], Callable[Concatenate[Any, Parameters], Result]]:
    """Run a function that gets a lease in a span."""

    def decorate(
        function: Callable[Concatenate[Any, Parameters], Result],
    ) -> Callable[Concatenate[Any, Parameters], Result]:
        @wraps(function)
        def run(lease: Any, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            with span(name, session=lease.session.pk.hex, bytes=lease.session.bytes_stored):
                return function(lease, *args, **kwargs)

        return run

    return decorate


def note_error(error: BaseException) -> None:
    """Give the current span the code of an error."""
    attributes = _attributes.get()
    if attributes is not None:
        attributes["code"] = error.code if isinstance(error, UploadError) else type(error).__name__


def _inherited() -> dict[str, Any]:
    outer = _attributes.get() or {}
    return {name: outer.get(name) for name in ("protocol", "session")}


def _named(attributes: dict[str, Any]) -> dict[str, Any]:
    return {f"uploads.{name}": value for name, value in attributes.items() if value not in (None, "")}


def _add_session(*, session: Any, size: int = 0, **_: Any) -> None:
    """Give the current span the id of a session that was created or stored a chunk, and the chunk's bytes."""
    attributes = _attributes.get()
    if attributes is not None:
        attributes["session"] = session.pk.hex
        attributes["bytes"] = attributes.get("bytes", 0) + size


def _add_call(*, operation: str, seconds: float, **_: Any) -> None:
    if _tracer is not None:
        attributes, ended = _named(_inherited() | {"operation": operation}), time.time_ns()
        begun = ended - int(seconds * 1e9)
        _tracer.start_span("uploads.store", attributes=attributes, start_time=begun).end(ended)


if _tracer is not None:
    signals.session_created.connect(_add_session, dispatch_uid="tracing-created")
    signals.chunk_stored.connect(_add_session, dispatch_uid="tracing-stored")
    signals.store_called.connect(_add_call, dispatch_uid="tracing-store")
