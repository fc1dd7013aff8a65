"""The registry of upload protocols, which open and fill sessions.

The core knows nothing else about protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.core.checks import CheckMessage


@dataclass(frozen=True)
class Finding:
    """One result of the doctor."""

    about: str
    ok: bool
    text: str
    """The result and, if it is not ok, the remedy."""


@dataclass(frozen=True)
class UploadProtocol:
    """The functions of a protocol for ``manage.py check`` and the doctor."""

    name: str
    is_included: Callable[[], bool]
    """Returns True if the protocol's URLs are in the portal's URLconf."""
    check: Callable[[], Iterator[CheckMessage]]
    """Yields problems of the settings and the URLs, without any I/O."""
    probe: Callable[[str], Iterator[Finding]]
    """Yields findings that need requests to the portal's public address."""


_protocols: dict[str, UploadProtocol] = {}


def register(protocol: UploadProtocol) -> None:
    _protocols[protocol.name] = protocol


def registered() -> list[UploadProtocol]:
    return list(_protocols.values())
