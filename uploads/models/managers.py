"""The manager of all models."""

from __future__ import annotations

from typing import Any

from django.db import models, router


class WrittenManager(models.Manager[Any]):
    """Read from the database for writes, because decisions need current rows.

    A replica may lag behind.
    """

    def get_queryset(self) -> models.QuerySet[Any]:
        return super().get_queryset().using(self._db or router.db_for_write(self.model))
