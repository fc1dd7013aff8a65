"""End expired upload sessions, like the Celery task; for cron and operators."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.template.defaultfilters import filesizeformat

from uploads._internal import conf, sessions
from uploads.models import UploadSession


class Command(BaseCommand):
    help = "Expire stale upload sessions: abort their multipart uploads, remove the empty folders they made."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only tell which sessions would expire.")

    def handle(self, *, dry_run: bool, verbosity: int, **_: Any) -> None:
        if dry_run:
            self._tell(verbosity)
            return
        size = conf.current().BATCH_SIZE
        expired = sessions.expire_stale(batch_size=size)
        purged = sessions.purge(limit=size)
        self.stdout.write(f"{expired} sessions expired, {purged} old rows deleted.")

    def _tell(self, verbosity: int) -> None:
        stale = UploadSession.objects.stale().order_by("expires_at")
        for session in stale.iterator() if verbosity > 0 else ():
            stored = filesizeformat(session.bytes_stored)
            self.stdout.write(f"{session.id.hex}  {session.expires_at:%Y-%m-%d %H:%M}  {stored}  {session.file_name}")
        self.stdout.write(f"{stale.count()} sessions would expire.")
