"""Compare upload sessions with the store, in both directions."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.template.defaultfilters import filesizeformat

from uploads._internal import sessions


class Command(BaseCommand):
    help = (
        "Find sessions whose bytes are gone, and multipart uploads and objects under OBJECT_PREFIX that nobody owns. "
        "Exits with 1 if something is found and left."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--fix", action="store_true", help="Abort and delete the orphans that are provably ours.")

    def handle(self, *, fix: bool, **_: Any) -> None:
        report = sessions.audit(fix=fix, tell=self.stdout.write)
        self.stdout.write(
            f"{len(report.lost)} sessions lost their bytes; {report.orphans} orphans of "
            f"{filesizeformat(report.orphan_bytes)}, {report.freed} of them removed, which freed "
            f"{filesizeformat(report.freed_bytes)}; {report.strange} things are not named as ours and were left alone."
        )
        if report.lost or report.freed < report.orphans:
            sys.exit(1)
