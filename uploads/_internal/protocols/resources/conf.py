"""Settings of these protocols, and what they demand of a chunk."""

from __future__ import annotations

from dataclasses import dataclass

from uploads._internal import conf
from uploads._internal.conf import setting
from uploads._internal.sessions import Rules

TUS_BYTES = "application/offset+octet-stream"
"""The content type of a chunk of tus."""
KEEPING = Rules(progressive=True, accepts_resends=False, preemptible=True)
"""What came of a chunk stays, whatever ends it."""
WHOLE = Rules(accepts_resends=False, preemptible=True)
"""A chunk whose sender hashed it counts only if it is what he hashed."""


@dataclass(frozen=True)
class ResourceSettings:
    """The part of ``settings.UPLOADS`` that is this door's."""

    INTERIM_RESPONSES: bool = setting(
        False,  # noqa: FBT003 - a setting's value
        39,
        "True or False",
        "Whether what is between the app and its clients forwards 104 (Upload Resumption Supported); the doctor knows.",
        lambda value: isinstance(value, bool),
    )


conf.register(ResourceSettings)


def current() -> ResourceSettings:
    return conf.of(ResourceSettings)
