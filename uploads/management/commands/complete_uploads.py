"""Complete uploads whose last step failed, like the task; for cron and operators."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from uploads.tasks import complete_sessions


class Command(BaseCommand):
    help = "Complete upload sessions that have all bytes but no file yet."

    def handle(self, **_: Any) -> None:
        self.stdout.write(f"{complete_sessions()} sessions were carried on.")
