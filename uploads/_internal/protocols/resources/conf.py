"""Settings of these protocols, and their rules for chunks."""

from __future__ import annotations

from dataclasses import dataclass

from uploads._internal import conf
from uploads._internal.conf import setting
from uploads._internal.sessions import Rules

TUS_BYTES = "application/offset+octet-stream"
"""Content type of a tus chunk."""
KEEPING = Rules(progressive=True, accepts_resends=False, preemptible=True)
"""Keep the bytes that arrived, however the chunk ends."""
WHOLE = Rules(accepts_resends=False, preemptible=True)
"""Count a chunk with a digest only if it matches the digest."""


@dataclass(frozen=True)
class ResourceSettings:
    """The part of ``settings.UPLOADS`` that belongs to this protocol."""

    INTERIM_RESPONSES: bool = setting(
        False,  # noqa: FBT003 - a setting's value
        39,
        "True or False",
        "Set if servers and proxies before the app forward 104 (Upload Resumption Supported); the doctor tries it.",
        lambda value: isinstance(value, bool),
    )


conf.register(ResourceSettings)


def current() -> ResourceSettings:
    return conf.of(ResourceSettings)
