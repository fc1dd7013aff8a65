"""Show, or set, the CORS rule that a bucket needs for parts straight to the store."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from uploads._internal import conf
from uploads._internal.direct_probe import cors_rule
from uploads._internal.stores import get_store
from uploads.destinations.registry import storages_in_use
from uploads.exceptions import UploadError


class Command(BaseCommand):
    help = "Show the CORS rule that pages need to send parts straight to the store; --apply adds it to the bucket."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("origin", help="The origin of the portal's pages, such as https://portal.example.")
        parser.add_argument("--apply", action="store_true", help="Add the rule to the rules of each bucket.")

    def handle(self, *, origin: str, apply: bool, **_: Any) -> None:
        rule = cors_rule(origin)
        self.stdout.write(json.dumps([rule], indent=2))
        for alias in (storages_in_use() or [conf.current().STORAGE]) if apply else ():
            try:
                done = get_store(alias).add_cors_rule(rule)
            except UploadError as error:
                message = f"STORAGES[{alias!r}]: {error.__cause__ or error}"
                raise CommandError(message) from error
            self.stdout.write(f"STORAGES[{alias!r}]: {'added' if done else 'nothing to do'}.")
