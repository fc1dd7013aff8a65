"""Health checks of the services that the portal needs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from django.db import connection
from django.http import HttpRequest, JsonResponse

from portal.celery import app
from uploads.contrib.health import check_store

logger = logging.getLogger(__name__)

DEADLINE = 4
"""Seconds for all checks together: a service that hangs counts as unavailable."""
MOST_HANGING = 32
"""Maximum number of checks that hang at a time; further ones fail at once."""

_free = threading.BoundedSemaphore(MOST_HANGING)


class ReadOnlyDatabase(Exception):
    """The database answers, but accepts no uploads."""


def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if database and store answer, else 503.

    The broker's state is reported only, because uploads work without it.
    """
    results: dict[str, str] = {}
    threads = [threading.Thread(target=_run, args=(name, results), daemon=True) for name in CHECKS]
    ends = time.monotonic() + DEADLINE
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
    status = {name: results.get(name, "no answer") for name in CHECKS}
    healthy = status["database"] == status["store"] == "ok"
    return JsonResponse(status, status=200 if healthy else 503)


def _run(name: str, results: dict[str, str]) -> None:
    if not _free.acquire(blocking=False):
        return
    try:
        CHECKS[name]()
        results[name] = "ok"
    except Exception as error:  # Any exception is a reason to report.
        reason = error.__cause__ or error
        logger.warning("health: %s: %s", name, reason)
        results[name] = type(reason).__name__
    finally:
        connection.close()
        _free.release()


READ_ONLY = {"postgresql": ("SHOW transaction_read_only", "on"), "mysql": ("SELECT @@global.read_only", 1)}
"""Query for read-only mode by database vendor, and its positive result, as after a failover."""


def _check_database() -> None:
    question, read_only = READ_ONLY.get(connection.vendor, ("SELECT 1", None))
    with connection.cursor() as cursor:
        cursor.execute(question)
        if cursor.fetchone() == (read_only,):
            raise ReadOnlyDatabase


def _check_broker() -> None:
    with app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, timeout=2)


CHECKS: dict[str, Callable[[], None]] = {
    "database": _check_database,
    "store": check_store,
    "broker": _check_broker,
}
