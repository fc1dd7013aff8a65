"""Transactions on the sessions' database that are committed when they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import Error, connections, router, transaction

from uploads.exceptions import TransactionOpen
from uploads.models import Fragment, UploadPart, UploadSession

LOST_BY_MYSQL = (1053, 1927)
"""MySQL's codes for "server shutdown" and "connection was killed".

The server's errors are 1000 to 1999, the client's start at 2000.
"""
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def alias() -> str:
    """Return the database alias that sessions are written to.

    Decisions are based on rows read from it, too.
    """
    return router.db_for_write(UploadSession)


def durable() -> transaction.Atomic:
    """Return a transaction on the sessions' database that is committed when it ends."""
    return transaction.atomic(using=alias(), durable=True)


def outside_transaction(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Make ``function`` raise TransactionOpen inside a transaction.

    There, nothing would be committed before the client gets its response.
    """

    @wraps(function)
    def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        require_no_transaction()
        return function(*args, **kwargs)

    return checked


def require_no_transaction() -> None:
    """Raise TransactionOpen inside a caller's transaction; those of Django's test cases do not count."""
    connection = connections[alias()]
    blocks = connection.atomic_blocks
    # The condition is that of Django's own ``durable``.
    if (blocks and not getattr(blocks[-1], "_from_testcase", False)) or not (blocks or connection.get_autocommit()):
        raise TransactionOpen


def certainly_failed(error: Error) -> bool:
    """Return whether the database server itself reported the failure.

    Otherwise, a COMMIT may have taken effect.
    """
    cause = error.__cause__
    if state := getattr(cause, "sqlstate", None):  # SQL standard: 08 and 57P are lost connections
        return not state.startswith(("08", "57P"))
    code = cause.args[0] if cause is not None and cause.args else None
    return isinstance(code, int) and 1000 <= code < 2000 and code not in LOST_BY_MYSQL


def reconnect() -> None:
    """Close broken connections, so that the outcome can be read on new ones."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def release_pooled_connection() -> None:
    """Return the connection to its pool while the database is not needed: receiving takes long."""
    connection = connections[alias()]
    if connection.settings_dict["OPTIONS"].get("pool") and not connection.in_atomic_block:
        connection.close()


def took_effect(session: UploadSession, stored: Sequence[UploadPart | Fragment]) -> bool:
    """Return whether a COMMIT whose answer was lost saved the rows in ``stored``.

    Raises Error if that cannot be determined now. The row is locked, so the query waits for a transaction that is still
    being committed.
    """
    reconnect()
    with durable():
        row = UploadSession.objects.select_for_update().get(pk=session.pk)
        parts = set(session.parts.values_list("offset", "size", "crc32", "etag"))
        fragments = set(session.fragments.values_list("name", flat=True))
    if not stored:
        return (row.fence, row.state) == (session.fence, session.state)
    return all(
        (item.name in fragments)
        if isinstance(item, Fragment)
        else (item.offset, item.size, item.crc32, item.etag) in parts
        for item in stored
    )


__all__ = [
    "Error",
    "alias",
    "durable",
    "outside_transaction",
    "reconnect",
    "release_pooled_connection",
    "require_no_transaction",
    "took_effect",
]
