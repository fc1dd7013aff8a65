"""Register the protocol for ``manage.py check`` and the doctor, without checks of its own."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import CheckMessage

from uploads._internal import registry
from uploads._internal.http import routes
from uploads._internal.registry import Finding

PACKAGE = "uploads._internal.protocols.uppy"


def is_included() -> bool:
    return any(routes.names_of("uploads", PACKAGE))


def check() -> Iterator[CheckMessage]:
    yield from ()


def probe(_: str) -> Iterator[Finding]:
    yield from ()


registry.register(registry.UploadProtocol("uppy", is_included, check, probe))
