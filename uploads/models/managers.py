"""The manager of all models."""

from __future__ import annotations

from typing import Any

from django.db import models, router


class WrittenManager(models.Manager[Any]):
    """Reads from the database that is written to: a replica that lags behind would decide on rows of the past."""

    def get_queryset(self) -> models.QuerySet[Any]:
        return super().get_queryset().using(self._db or router.db_for_write(self.model))
