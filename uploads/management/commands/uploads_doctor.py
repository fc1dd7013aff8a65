"""Find problems that the settings alone cannot show; the exit status is for monitoring."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from uploads._internal.doctor import examine


class Command(BaseCommand):
    help = "Examine store, clocks, Celery and the way to the portal. Exits with 1 if anything needs to be changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", default="", help="The portal's public address, to find limits before the app.")

    def handle(self, *, url: str, **_: Any) -> None:
        problems = 0
        for finding in examine(url):
            mark = self.style.SUCCESS("ok     ") if finding.ok else self.style.ERROR("PROBLEM")
            self.stdout.write(f"{mark} {finding.about}: {finding.text}")
            problems += not finding.ok
        self.stdout.write(f"{problems} problems." if problems else "All is well.")
        if problems:
            sys.exit(1)
