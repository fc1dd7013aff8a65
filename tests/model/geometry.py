"""A model of the upload geometry.

A file consists of parts of one size, so that a part's number follows from its offset. The model shares no code with
the app; it states the rules that the engine must follow. Sizes are single bytes, so that a few random requests meet
every boundary. ``tests/model/test_geometry.py`` plays it against stores that delay, lose and refuse calls.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field


class Refused(Exception):
    """The store refuses to complete the upload."""


class Unknown(Exception):
    """No response arrived: the call took effect, will take effect, or never does."""


@dataclass
class Call:
    """A part in flight, which may arrive long after its sender is gone."""

    index: int
    data: bytes


@dataclass
class Store:
    """A multipart upload as S3 specifies it.

    A part may be written again; Complete names the write to use by its ETag.
    """

    names_writes: bool = False
    """Give each write a new ETag, even for identical bytes (SSE-KMS, S3 Express)."""
    refuses_unlisted: bool = False
    lists: bool = True
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    late: list[Call] = field(default_factory=list)
    content: bytes | None = None
    writes: Iterator[int] = field(default_factory=itertools.count)

    def arrive(self, call: Call) -> str:
        if self.content is not None:
            return ""  # NoSuchUpload: a straggler after Complete damages nothing.
        etag = f"{call.data!r}{next(self.writes) if self.names_writes else ''}"
        self.parts[call.index] = etag, call.data
        return etag

    def complete(self, named: dict[int, str]) -> None:
        held = {index: etag for index, (etag, _) in self.parts.items()}
        if any(held.get(index) != etag for index, etag in named.items()):
            raise Refused
        if self.refuses_unlisted and held.keys() - named.keys():
            raise Refused
        self.content = b"".join(self.parts[index][1] for index in sorted(named))


@dataclass
class Session:
    """A session's row and the operations of a worker on it.

    ``outcomes`` determines the outcome of each write of a part.
    """

    store: Store
    size: int
    part: int
    stored: int = 0
    etags: dict[int, str] = field(default_factory=dict)
    fragments: dict[int, bytes] = field(default_factory=dict)
    """Bytes outside parts, by offset; no fragment crosses a part boundary."""
    dirty: set[int] = field(default_factory=set)
    """Parts that a write of unknown outcome may still change."""

    def extent(self, index: int) -> range:
        return range(index * self.part, min((index + 1) * self.part, self.size))

    def put(self, index: int, data: bytes, outcome: str) -> str:
        """Mark a part as dirty, then write it; only a clear response settles it."""
        self.dirty.add(index)
        call = Call(index, data)
        if outcome == "late":
            self.store.late.append(call)
        if outcome == "late" or outcome == "never":
            raise Unknown
        etag = self.store.arrive(call)
        if outcome == "answer lost":
            raise Unknown
        return etag

    def append(self, data: bytes, outcomes: Iterator[str], *, dies: bool) -> None:
        """Append the next bytes of the file, all of them or none."""
        data = data[: self.size - self.stored]  # Bytes beyond the end of the file never go to the store.
        foreign = set(self.dirty)
        etags, fragments = dict(self.etags), dict(self.fragments)
        at = self.stored
        for fragment in self._cut(self.stored, data):
            fragments[at] = fragment
            at += len(fragment)
            self._join(at, foreign, etags, fragments, outcomes)
        if dies:  # Between the last write and the commit.
            raise Unknown
        self.dirty = foreign
        self.etags, self.fragments, self.stored = etags, fragments, at

    def _cut(self, start: int, data: bytes) -> Iterator[bytes]:
        while data:
            room = self.part - start % self.part
            yield data[:room]
            start, data = start + room, data[room:]

    def _join(
        self, at: int, foreign: set[int], etags: dict[int, str], fragments: dict[int, bytes], outcomes: Iterator[str]
    ) -> None:
        """Write the part that ends at ``at``, unless another writer may still write it."""
        index = (at - 1) // self.part
        extent = self.extent(index)
        if at != extent.stop or index in foreign:
            return
        inside = sorted(offset for offset in fragments if offset in extent)
        etags[index] = self.put(index, b"".join(fragments[offset] for offset in inside), next(outcomes))
        for offset in inside:
            del fragments[offset]

    def complete(self, outcomes: Iterator[str], *, dies: bool = False) -> None:
        """Make parts of the remaining fragments and complete the file.

        A straggler costs one attempt, never the file. Fragments of dirty parts stay until Complete has succeeded,
        because the part is written again from them.
        """
        for index in sorted({offset // self.part for offset in self.fragments}):
            if index in self.etags and not self._changed(index):
                continue
            inside = sorted(offset for offset in self.fragments if offset in self.extent(index))
            self.etags.pop(index, None)
            self.etags[index] = self.put(index, b"".join(self.fragments[at] for at in inside), next(outcomes))
        if dies:  # Between the last write and Complete.
            raise Unknown
        try:
            self.store.complete(self.etags)
        except Refused:
            if not self.store.lists:
                for index in self.dirty & self.etags.keys():
                    del self.etags[index]
            raise

    def _changed(self, index: int) -> bool:
        """Return whether a straggler overwrote the part.

        If the store lists no parts, only a refused Complete reveals it.
        """
        return self.store.lists and self.store.parts.get(index, ("", b""))[0] != self.etags[index]


@dataclass
class Row:
    """A stored numbered chunk: parts, and fragments by their offset in the file."""

    data: bytes
    etags: dict[int, str]
    fragments: dict[int, bytes]


@dataclass
class Attempt:
    """A request with a numbered chunk, concurrent with others, even of the same number."""

    number: int
    data: bytes
    todo: list[tuple[int, bytes]]
    """Unwritten bytes with their offset in the file, cut at part boundaries."""
    writes_parts: bool
    row: Row
    unsettled: set[int] = field(default_factory=set)
    """Parts noted on the chunk's row before they were written."""


@dataclass
class Numbered:
    """A session of numbered chunks of one size.

    There is no lease: the rows of chunks keep attempts apart.
    """

    session: Session
    chunk: int
    rows: dict[int, Row] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)

    def begin(self, number: int, data: bytes) -> Attempt | None:
        """Begin an attempt, or return None if the same chunk is stored already.

        Only the first open attempt at a number that is not stored yet writes parts.
        """
        if number in self.rows and self.rows[number].data == data:
            return None
        start = (number - 1) * self.chunk
        todo, at = [], start
        for fragment in self.session._cut(start, data):
            todo.append((at, fragment))
            at += len(fragment)
        first = number not in self.rows and all(other.number != number for other in self.attempts)
        attempt = Attempt(number, data, todo, first, Row(data, {}, {}))
        self.attempts.append(attempt)
        return attempt

    def step(self, attempt: Attempt, outcome: str) -> None:
        """Write the next bytes of an attempt as a part or a fragment.

        They become a part if they fill one that no other writer may change.
        """
        at, fragment = attempt.todo.pop(0)
        index = at // self.session.part
        whole = len(fragment) == len(self.session.extent(index))
        if not (whole and attempt.writes_parts and index not in self.session.dirty):
            attempt.row.fragments[at] = fragment
            return
        attempt.unsettled.add(index)
        attempt.row.etags[index] = self.session.put(index, fragment, outcome)

    def commit(self, attempt: Attempt) -> None:
        """Store the attempt's bytes under its number.

        Its parts are settled, because all its calls ended with a clear response.
        """
        self.attempts.remove(attempt)
        self.rows[attempt.number] = attempt.row
        self.session.dirty -= attempt.unsettled

    def give_up(self, attempt: Attempt) -> None:
        """Forget an attempt that failed or died; its unsettled parts stay dirty."""
        self.attempts.remove(attempt)

    def finalize(self, outcomes: Iterator[str]) -> None:
        """Complete the file from the parts and fragments of stored chunks.

        Attempts that are still in progress come too late.
        """
        session = self.session
        session.etags = session.etags or {}
        for row in self.rows.values():
            session.fragments |= row.fragments
            for index, etag in row.etags.items():
                session.etags.setdefault(index, etag)
        session.complete(outcomes)
