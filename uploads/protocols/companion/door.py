"""What this door brings along for ``manage.py check`` and for the doctor: that it is there."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import CheckMessage

from uploads import doors
from uploads.doors import Finding
from uploads.http import routes

PACKAGE = "uploads.protocols.companion"


def is_included() -> bool:
    return any(routes.names_of("uploads", PACKAGE))


def check() -> Iterator[CheckMessage]:
    yield from ()


def probe(_: str) -> Iterator[Finding]:
    yield from ()


doors.register(doors.Door("companion", is_included, check, probe))
