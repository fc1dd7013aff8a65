"""Pieces: bytes kept as objects of their own, because they were too few for a part or got no part number."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial, reduce
from itertools import groupby

from uploads.exceptions import PartsExhausted
from uploads.models import UploadPart, UploadSession
from uploads.parts import MAX_PARTS, combine_crc32, segment_room
from uploads.stores.base import Store
from uploads.transfer.lease import Lease, deadline
from uploads.transfer.places import Place, open_segment
from uploads.transfer.threads import StoreThreads
from uploads.transfer.transactions import durable
from uploads.transfer.writer import PartWriter, commit_parts, delete_quietly, parts_made, read_piece

logger = logging.getLogger(__name__)


def whole_crc32(rows: Sequence[UploadPart]) -> int:
    """Return the CRC-32 of the rows' bytes, one row after the other."""
    return reduce(lambda crc32, part: combine_crc32(crc32, part.crc32, part.size), rows, 0)


def join_pieces(lease: Lease, store: Store) -> list[UploadPart]:
    """Make parts of the pieces that numbered chunks left, and return all parts; goes on where it stopped."""
    session = lease.session
    rows = list(session.parts.all())
    for pieces in [run for run in runs_of(session, rows) if run[0].number is None]:
        first = rows.index(pieces[0])
        made = _join(lease, store, pieces, before=rows[:first], behind=rows[first + len(pieces) :])

        def commit(pieces: list[UploadPart] = pieces, made: list[UploadPart] = made) -> None:
            with durable():
                lease.commit(keep=True)
                session.parts.filter(pk__in=[piece.pk for piece in pieces]).delete()
                UploadPart.objects.bulk_create(made)

        commit_parts(store, session, made, commit)
        delete_quietly(store, [piece.piece for piece in pieces])
        rows[first : first + len(pieces)] = made
    return rows


def runs_of(session: UploadSession, rows: Iterable[UploadPart]) -> list[list[UploadPart]]:
    """Return the rows in groups that follow each other in a segment and are all parts, or all pieces.

    Pieces learn here which segment they belong to: that of their chunk's number, or where none became parts, one by
    their place in the file. No chunk is in two of them.
    """
    position = index = chunk = 0
    for row in rows:
        if row.number is None:
            if session.segmented and row.chunk != chunk:
                planned = session.planned_chunks
                index = (row.chunk - 1) // planned if planned else position // segment_room(session.part_size)
            row.segment = index
        index, chunk, position = row.segment, row.chunk, position + row.size
    return [list(group) for _, group in groupby(rows, lambda row: (row.segment, row.number is None))]


def _join(
    lease: Lease, store: Store, run: list[UploadPart], before: list[UploadPart], behind: list[UploadPart]
) -> list[UploadPart]:
    """Store a run of pieces as parts, numbered between the parts ``before`` and ``behind`` it."""
    session, index = lease.session, run[0].segment
    size = sum(piece.size for piece in run)
    lowest, highest = 1, MAX_PARTS
    if before and before[-1].segment == index:
        lowest = (before[-1].number or 0) + 1
    is_last = not behind or behind[0].segment != index
    if not is_last:
        highest = (behind[0].number or 0) - 1
    wanted = parts_made(session, store, size)
    if store.allows_strays:  # Attempts that nobody heard of again took the low ones,
        lowest = max(lowest, highest - wanted + 1)
    # and must be written over where a part that nobody names keeps the store from completing.
    place = open_segment(session, store, index, partial(lease.write, lease_until=deadline()))
    free = range(lowest, highest + 1)
    numbers = GivenNumbers(free, place)
    threads = StoreThreads(lease, count=lease.threads.count)
    offset = sum(row.size for row in before)
    writer = PartWriter(threads, numbers, session, store, offset=offset, expected=size, chunk=run[0].chunk)
    if free:  # As long as the size of the file was not known, fewer and larger parts may have been counted on.
        writer.part_size = max(writer.part_size, -(-size // len(free)))
    try:
        with writer:
            for piece in run:
                for block in read_piece(store, piece):
                    writer.write(block)
            return writer.finish(last=is_last)
    finally:
        threads.settle()


class GivenNumbers:
    """Part numbers that are known to be free."""

    def __init__(self, numbers: Iterable[int], place: Place) -> None:
        self.place = place
        self._numbers = iter(numbers)

    def take(self, offset: int, size: int) -> int:
        try:
            return next(self._numbers)
        except StopIteration as error:
            raise PartsExhausted from error
