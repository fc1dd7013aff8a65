"""Doors: the protocols by which sessions are opened and filled. The core knows that there are some, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.core.checks import CheckMessage


@dataclass(frozen=True)
class Finding:
    """One thing that the doctor looked at."""

    about: str
    ok: bool
    text: str
    """What was found and, if it is not good, what to change."""


@dataclass(frozen=True)
class UploadProtocol:
    """What a protocol brings along for ``manage.py check`` and for the doctor."""

    name: str
    is_included: Callable[[], bool]
    """Tells whether its URLs are in the host's."""
    check: Callable[[], Iterator[CheckMessage]]
    """Yields what the settings and the URLs say, without any I/O."""
    probe: Callable[[str], Iterator[Finding]]
    """Yields what only asking the portal at its public address can show."""


_protocols: dict[str, UploadProtocol] = {}


def register(protocol: UploadProtocol) -> None:
    _protocols[protocol.name] = protocol


def registered() -> list[UploadProtocol]:
    return list(_protocols.values())
