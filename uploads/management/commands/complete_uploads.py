"""Complete uploads whose last step failed, like the Celery task; for cron and operators."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand

from uploads._internal import conf, sessions
from uploads.exceptions import SessionBusy


class Command(BaseCommand):
    help = "Complete upload sessions that have all bytes but no file yet."

    def handle(self, **_: Any) -> None:
        size = conf.current().BATCH_SIZE
        waiting = sessions.checks_due(limit=size)
        for session in waiting:
            with suppress(SessionBusy):
                sessions.check(session)
        count = len(waiting) + sessions.complete_due(limit=size)
        self.stdout.write(f"{count} sessions were carried on.")
