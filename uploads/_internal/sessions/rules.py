"""A chunk, and the rules that its protocol sets for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

from uploads.exceptions import ChunkNotMultiple, ChunkTooSmall, EmptyChunk


@dataclass(frozen=True)
class Rules:
    """The chunk sizes that a protocol accepts, in bytes.

    Every chunk but the last has at least ``least`` bytes, and its size is a multiple of ``multiple``.
    """

    least: int = 1
    multiple: int = 1
    most: int | None = None
    """Maximum size; None means no limit."""
    progressive: bool = False
    """True if the received bytes of an interrupted chunk are kept. Otherwise none are."""
    accepts_resends: bool = True
    """True if a chunk below the current offset is a resend. Otherwise it is refused."""
    preemptible: bool = False
    """True if a new request gets the session while an older one is receiving bytes."""

    def allow(self, size: int) -> bool:
        """Return whether another chunk may follow a chunk of this size."""
        return size >= max(1, self.least) and size % self.multiple == 0

    def require(self, size: int) -> None:
        """Raise an error if no chunk may follow a chunk of this size."""
        if size == 0:
            raise EmptyChunk
        if size < self.least:
            raise ChunkTooSmall(minimum=self.least, size=size)
        if size % self.multiple:
            raise ChunkNotMultiple(multiple=self.multiple, size=size)


ANY = Rules()
"""Rules of a protocol that restricts no size."""


class Duplicate(Enum):
    """Possible answers: is a chunk that equals the previous one a resend of it?"""

    NO = auto()
    YES = auto()
    UNKNOWN = auto()


class Fingerprint(Protocol):
    """Identity of a chunk's request, by which a protocol recognizes a resent request."""

    def compare(self, previous: dict[str, Any]) -> Duplicate:
        """Compare with the value that ``stored`` returned for the previous chunk."""

    def stored(self, previous: dict[str, Any]) -> dict[str, Any]:
        """Return the value to store with the chunk."""


@dataclass(frozen=True)
class ByteRange:
    """Position of a chunk as the client declares it: its first and last byte.

    ``total`` is the declared size of the file, if any.
    """

    first: int
    last: int
    total: int | None


@dataclass(frozen=True)
class Chunk:
    """A chunk that is being received, as blocks of bytes as they arrive.

    Iterating over ``blocks`` raises an error if the body is truncated or malformed.
    """

    blocks: Iterator[bytes]
    at_most: int | None = None
    """Upper bound of the size in bytes, if one is known before the end."""
    size: int | None = None
    """Size in bytes, if known before the end."""
    start: int | None = None
    """Offset in the file, if the client declares it."""
    range: ByteRange | None = None
    """Offset and end in the file, if the client declares both."""
    fingerprint: Fingerprint | None = None
    """None if the request cannot be a resend."""
    is_last: bool = False
    """True if the file ends with this chunk, for a file of unknown size."""
    total: int | None = None
    """Size of the file, if the client declares it only now."""
    interrupt: Callable[[], None] = lambda: None
    """End the wait for the next block, from another thread, if the server supports that."""
    is_sending: Callable[[], bool] = lambda: False
    """Return whether bytes arrived a moment ago.

    They may be less than a block. False if the server cannot tell.
    """
    rules: Rules = ANY
    """Rules of the protocol that received the chunk."""

    @property
    def starts_at(self) -> int | None:
        """Offset in the file, if the client declares it."""
        return self.range.first if self.range else self.start
