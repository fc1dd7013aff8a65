"""Whether what the portal needs answers."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage, default_storage
from django.db import connection
from django.http import HttpRequest, JsonResponse

from portal.celery import app

logger = logging.getLogger(__name__)


def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if database, store and broker answer, else 503 with the reason."""
    failed = {}
    for name, check in CHECKS.items():
        try:
            check()
        except Exception as error:  # Whatever it is, it is the reason.
            logger.warning("health: %s: %s", name, error)
            failed[name] = type(error).__name__
    status = {name: failed.get(name, "ok") for name in CHECKS}
    return JsonResponse(status, status=503 if failed else 200)


def _check_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _check_store() -> None:
    storage: Any = default_storage
    if isinstance(storage, FileSystemStorage):
        Path(storage.location).mkdir(parents=True, exist_ok=True)
        if not os.access(storage.location, os.W_OK):
            raise PermissionError(storage.location)
    else:
        storage.connection.meta.client.head_bucket(Bucket=storage.bucket_name)


def _check_broker() -> None:
    with app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, timeout=2)


CHECKS: dict[str, Callable[[], None]] = {
    "database": _check_database,
    "store": _check_store,
    "broker": _check_broker,
}
