"""Chunks that arrive twice: browsers, proxies and tools by themselves repeat a request whose answer was lost.

A chunk in order that says nothing of its place and equals the one before it (size and CRC-32) may be a copy, or the
next chunk of a file that repeats itself. What the requests were like decides where it can:

- A repeated request repeats its label (what its sender makes anew for each request); so another label means another
  chunk, and the same one a copy, unless the client is known to write the same one always.
- A program that asks again over the same connection has had its answer, so this is another chunk. Behind a proxy
  that does not hold: its connections are not its client's.

Otherwise both readings stay open: the chunk is stored as a *suspect*. If a later chunk goes beyond the file, a suspect
was a copy and is dropped. If the file would be whole although a suspect may be a copy, nothing is completed
(ChunkAmbiguous) until the client says where its chunk belongs; what it sends after such a refusal adds up to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from itertools import pairwise
from typing import Any

from uploads.exceptions import ChunkAmbiguous
from uploads.models import UploadSession

Suspects = tuple[tuple[int, int], ...]
"""Offset and size of stored chunks that may be copies, in the order of the file."""


@dataclass(frozen=True)
class Origin:
    """What a request tells of where its chunk comes from."""

    label: str = ""
    """What its sender makes anew for each request; empty if there is nothing like that."""
    generated: bool = False
    """Whether ``label`` looks as browsers make it."""
    connection: str = ""
    """Names the client's connection; empty if it is not known, or a proxy's."""


class IsCopy(Exception):
    """The chunk is the one before it, sent again."""


class Verdict(Enum):
    NEW = auto()
    COPY = auto()
    UNSURE = auto()


def judge(before: dict[str, Any], origin: Origin | None) -> Verdict:
    """Judge a chunk that equals the one whose origin was ``before``; ``origin`` None means that there is no doubt."""
    if origin is None or not before or before["label"] != origin.label:
        return Verdict.NEW
    if origin.label and (before["habit"] == "fresh" or (origin.generated and before["habit"] != "constant")):
        return Verdict.COPY
    if origin.connection and before["connection"] == origin.connection:
        return Verdict.NEW
    return Verdict.UNSURE


def remembered(before: dict[str, Any], origin: Origin | None) -> dict[str, Any]:
    """Return what to remember of a chunk's origin, and of its client's habit with labels."""
    if origin is None:
        return {}
    habit = before.get("habit", "")
    if before.get("label") and origin.label:
        habit = "constant" if habit == "constant" or before["label"] == origin.label else "fresh"
    return {"label": origin.label, "connection": origin.connection, "habit": habit}


@dataclass(frozen=True)
class Reading:
    """How the stored chunks are to be read from now on."""

    dropped: Suspects
    """Offset and size of suspects that turned out to be copies."""
    suspects: Suspects
    """Those that may still be."""

    @property
    def dropped_size(self) -> int:
        return sum(size for _, size in self.dropped)


def read_as_sent(session: UploadSession, start: int | None) -> Reading:
    """Return the reading that a client implies who says that its chunk starts at byte ``start``.

    Raises ChunkAmbiguous if no reading fits.
    """
    suspects = _suspects(session)
    if start is None:
        return Reading((), suspects)
    if start == session.bytes_stored:
        return Reading((), ())
    return Reading(_droppable(session, suspects, session.bytes_stored - start, exactly=True), ())


def read_as_summed(session: UploadSession, reading: Reading, size: int) -> Reading:
    """Return the reading after a chunk of ``size`` bytes: what does not fit into the file beside it was a copy."""
    excess = session.bytes_stored - reading.dropped_size + size - session.file_size
    if excess <= 0 or not reading.suspects:
        return reading
    if session.doubted:
        raise ambiguous(session)
    dropped = _droppable(session, reading.suspects, excess, exactly=False)
    left = tuple(suspect for suspect in reading.suspects if suspect not in dropped)
    return Reading(reading.dropped + dropped, left)


def ambiguous(session: UploadSession) -> ChunkAmbiguous:
    return ChunkAmbiguous(certain=session.bytes_certain, stored=session.bytes_stored)


def _suspects(session: UploadSession) -> Suspects:
    return tuple((offset, size) for offset, size in session.suspects)


def _droppable(session: UploadSession, suspects: Suspects, size: int, *, exactly: bool) -> Suspects:
    """Return suspects of ``size`` bytes, or the fewest that are as many; raise ChunkAmbiguous where it matters which.

    Of chunks that follow each other and are all the same, any may go.
    """
    dropped: Suspects = ()
    while sum(size for _, size in dropped) < size and len(dropped) < len(suspects):
        dropped = suspects[len(suspects) - len(dropped) - 1 :]
    total = sum(size for _, size in dropped)
    one_run = all(first[0] + first[1] == second[0] for first, second in pairwise(suspects))
    if total < size or (exactly and total != size) or not (one_run or dropped == suspects):
        raise ambiguous(session)
    return dropped
