"""What a door demands of a chunk, and the chunk itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

from uploads.exceptions import ChunkNotMultiple, ChunkTooSmall, EmptyChunk


@dataclass(frozen=True)
class Rules:
    """The sizes that a door takes, in bytes. A chunk that is not the last has ``least`` and is a ``multiple``."""

    least: int = 1
    multiple: int = 1
    most: int | None = None
    """None means no limit."""
    progressive: bool = False
    """Whether what arrived of an interrupted chunk stays. Otherwise a chunk is all or nothing."""
    accepts_resends: bool = True
    """Whether a chunk that starts below the end is one that is stored already, sent again. Otherwise it is refused."""
    preemptible: bool = False
    """Whether a newcomer gets the session although the client of the older request is sending at the moment."""

    def allow(self, size: int) -> bool:
        """Tell whether a chunk of this size may be followed by another."""
        return size >= max(1, self.least) and size % self.multiple == 0

    def require(self, size: int) -> None:
        """Raise the error that says why a chunk of this size may not be followed by another."""
        if size == 0:
            raise EmptyChunk
        if size < self.least:
            raise ChunkTooSmall(minimum=self.least, size=size)
        if size % self.multiple:
            raise ChunkNotMultiple(multiple=self.multiple, size=size)


ANY = Rules()
"""Demands nothing."""


class Duplicate(Enum):
    """Whether a chunk that equals the previous one is that chunk, sent again."""

    NO = auto()
    YES = auto()
    UNKNOWN = auto()


class Fingerprint(Protocol):
    """What identifies the request of a chunk, so that a protocol can recognize a request that is sent again."""

    def compare(self, previous: dict[str, Any]) -> Duplicate:
        """Compare with what ``stored`` returned for the previous chunk."""

    def stored(self, previous: dict[str, Any]) -> dict[str, Any]:
        """Return what to store with the chunk."""


@dataclass(frozen=True)
class ByteRange:
    """Where a client says that its chunk belongs: first and last byte, and the size of the file if it says so."""

    first: int
    last: int
    total: int | None


@dataclass(frozen=True)
class Chunk:
    """A chunk on its way in: blocks of bytes as they arrive. Iterating raises if the body is cut or malformed."""

    blocks: Iterator[bytes]
    at_most: int | None = None
    """An upper bound of its size in bytes, if one is known before the end."""
    size: int | None = None
    """Its size in bytes, if that is known before the end."""
    start: int | None = None
    """Where in the file the client says it starts, if it says so."""
    range: ByteRange | None = None
    """The same, and more, if the client says where it ends."""
    fingerprint: Fingerprint | None = None
    """None if the request cannot be one that is sent again."""
    is_last: bool = False
    """Whether the file ends with it, if its size is not known yet."""
    total: int | None = None
    """The size of the file, if the client says it only now."""
    interrupt: Callable[[], None] = lambda: None
    """Ends the waiting for the next block, from another thread, if the server lets anybody do so."""
    is_sending: Callable[[], bool] = lambda: False
    """Tells whether some of it came a moment ago, though not enough for a block, if the server lets anybody know."""
    rules: Rules = ANY
    """What the door that it comes through demands of it."""

    @property
    def starts_at(self) -> int | None:
        """Where in the file it starts, if the client says so."""
        return self.range.first if self.range else self.start
