"""Finish the uploads whose last step failed; the same as the Celery task, for cron and operators."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from uploads import conf, sessions


class Command(BaseCommand):
    help = "Complete upload sessions that have all bytes but no file yet."

    def handle(self, **_: Any) -> None:
        count = sessions.complete_due(limit=conf.current().BATCH_SIZE)
        self.stdout.write(f"{count} sessions were carried on.")
