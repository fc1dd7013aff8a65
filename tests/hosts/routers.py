"""Database routers as other portals have them."""

from __future__ import annotations

from typing import Any


class OwnDatabase:
    """Keep the app's rows in a separate database."""

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        return "uploads" if model._meta.app_label == "upload_sessions" else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **_: Any) -> bool | None:
        return (db == "uploads") == (app_label == "upload_sessions")


class ReadsElsewhere:
    """Send all reads of the app's rows to a replica."""

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        return "replica" if model._meta.app_label == "upload_sessions" else None
