"""Database routers as they are found in other people's portals."""

from __future__ import annotations

from typing import Any


class ReadsElsewhere:
    """Sends all reads of the app's rows to a replica."""

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        return "replica" if model._meta.app_label == "upload_sessions" else None
