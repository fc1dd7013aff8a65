"""Pieces: bytes kept as objects of their own, because they were too few for a part or got no part number."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from itertools import groupby

from uploads.exceptions import PartsExhausted
from uploads.models import UploadPart
from uploads.parts import MAX_PARTS, combine_crc32
from uploads.stores.base import Store
from uploads.transfer.lease import Lease
from uploads.transfer.places import Place, place_of
from uploads.transfer.threads import StoreThreads
from uploads.transfer.transactions import durable
from uploads.transfer.writer import PartWriter, commit_parts, delete_quietly, parts_made, read_piece

logger = logging.getLogger(__name__)


def whole_crc32(rows: Sequence[UploadPart]) -> int:
    """Return the CRC-32 of the rows' bytes, one row after the other."""
    return reduce(lambda crc32, part: combine_crc32(crc32, part.crc32, part.size), rows, 0)


def join_pieces(lease: Lease, store: Store) -> list[UploadPart]:
    """Make parts of the pieces that numbered chunks left, and return all parts; may be repeated."""
    session = lease.session
    rows = list(session.parts.all())
    pieces = [row for row in rows if row.number is None]
    if not pieces:
        return rows
    made = [part for run in _runs(rows) for part in _join(lease, store, run, rows)]

    def commit() -> None:
        with durable():
            lease.commit(keep=True)
            session.parts.filter(number=None).delete()
            UploadPart.objects.bulk_create(made)

    commit_parts(store, session, made, commit)
    delete_quietly(store, [row.piece for row in pieces])
    return list(session.parts.all())


def _runs(rows: list[UploadPart]) -> Iterator[list[UploadPart]]:
    """Yield the groups of pieces that follow each other."""
    for is_piece, group in groupby(rows, lambda row: row.number is None):
        if is_piece:
            yield list(group)


def _join(lease: Lease, store: Store, run: list[UploadPart], rows: list[UploadPart]) -> list[UploadPart]:
    """Store a run of pieces as parts, numbered between the parts before and behind it."""
    session, first, behind = lease.session, rows.index(run[0]), rows.index(run[-1]) + 1
    size = sum(piece.size for piece in run)
    index = rows[first - 1].segment if first else 0
    lowest = (rows[first - 1].number or 0) + 1 if first else 1
    highest = MAX_PARTS
    if behind < len(rows) and rows[behind].segment == index:
        highest = (rows[behind].number or 0) - 1
    wanted = parts_made(session, store, size)
    if store.allows_strays:  # Attempts that nobody heard of again took the low ones,
        lowest = max(lowest, highest - wanted + 1)
    # and must be written over where a part that nobody names keeps the store from completing.
    numbers = GivenNumbers(range(lowest, highest + 1), place_of(session, store, index))
    threads = StoreThreads(lease, count=lease.threads.count)
    offset = sum(row.size for row in rows[:first])
    writer = PartWriter(threads, numbers, session, store, offset=offset, expected=size, chunk=run[0].chunk)
    try:
        with writer:
            for piece in run:
                for block in read_piece(store, piece):
                    writer.write(block)
            return writer.finish(last=behind == len(rows))
    finally:
        threads.settle()


class GivenNumbers:
    """Part numbers that are known to be free."""

    def __init__(self, numbers: Iterable[int], place: Place) -> None:
        self.place = place
        self._numbers = iter(numbers)

    def take(self) -> int:
        try:
            return next(self._numbers)
        except StopIteration as error:
            raise PartsExhausted from error
