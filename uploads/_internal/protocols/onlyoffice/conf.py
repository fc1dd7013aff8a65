"""Settings of the protocol, and its rules for chunks."""

from __future__ import annotations

from dataclasses import dataclass

from uploads._internal import conf
from uploads._internal.conf import MIB, is_size, is_size_or_none, setting
from uploads._internal.sessions.rules import Rules

LONGEST_TITLE = 170
"""Maximum characters of a file or folder title; the protocol's own servers cut there."""


@dataclass(frozen=True)
class OnlyofficeSettings:
    """The part of ``settings.UPLOADS`` that belongs to this protocol."""

    MIN_CHUNK_SIZE: int = setting(10 * MIB, 6, "bytes", "A chunk that is not the last has at least this size.", is_size)
    CHUNK_MULTIPLE: int = setting(512, 7, "bytes", "A chunk that is not the last is a multiple of this.", is_size)
    MAX_CHUNK_SIZE: int | None = setting(
        None, 8, "bytes", "A chunk has at most this size; `None` means no limit.", is_size_or_none
    )
    LOCATION_AUTH: str = setting(
        "owner",
        13,
        "choice",
        "`owner`: a chunk needs its session's owner; `capability`: knowing the location is enough.",
        lambda value: value in ("owner", "capability"),
    )

    @property
    def chunk_size(self) -> int:
        """Return the chunk size that the app recommends to clients, in bytes."""
        wanted = max(10 * MIB, self.MIN_CHUNK_SIZE)
        wanted = min(wanted, self.MAX_CHUNK_SIZE or wanted)
        return max(wanted // self.CHUNK_MULTIPLE, 1) * self.CHUNK_MULTIPLE

    @property
    def rules(self) -> Rules:
        """Return the rules for a chunk.

        The protocol itself demands a multiple of 512 bytes and at least 10 MiB.
        """
        return Rules(least=self.MIN_CHUNK_SIZE, multiple=self.CHUNK_MULTIPLE, most=self.MAX_CHUNK_SIZE)


conf.register(OnlyofficeSettings)


def current() -> OnlyofficeSettings:
    return conf.of(OnlyofficeSettings)
