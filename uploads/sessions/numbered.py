"""Numbered chunks: any order, several at once, the same number replaces; ``finalize`` completes the file.

Each chunk number owns a range of part numbers, in the order of the chunks. Every attempt to send a chunk takes
new ones from it, so attempts never damage each other and no lock is held while bytes flow; the commit decides.
How wide a range is follows from the most chunks that the file can have, or, once a chunk shows that this is too
narrow, from the size of that one: then there are fewer. In a file of several segments each has as many chunks as the
size of the first one makes room for; what comes before that becomes pieces.

Where the store completes no upload that has parts nobody names, attempts take the same numbers again, one at a time;
a chunk that is stored already is kept as pieces meanwhile, and is replaced only if it is another.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from itertools import groupby, islice, pairwise
from typing import Any

from django.db import Error
from django.db.models import F, Sum
from django.utils import timezone

from uploads import conf, signals
from uploads import parts as arithmetic
from uploads.clock import DatabaseNow
from uploads.exceptions import (
    ChunkNumberInvalid,
    ChunkTooSmall,
    ChunkTooWide,
    EmptyChunk,
    FileTooLarge,
    LeaseLost,
    SessionAborted,
    SessionBusy,
    SessionExpired,
    UploadGone,
    UploadIncomplete,
)
from uploads.models import Mode, NumberedChunk, State, UploadPart, UploadSession
from uploads.parts import MAX_PARTS
from uploads.sessions.admission import awaited, beyond, check_bounds, check_open, check_range, write_chunk
from uploads.sessions.complete import checked, complete, complete_held
from uploads.sessions.limits import largest_in_one_upload
from uploads.sessions.receive import explain_loss, receive
from uploads.sessions.rules import ANY, Chunk, Rules
from uploads.sessions.states import move_held
from uploads.stores import get_store
from uploads.stores.base import Store
from uploads.transfer.lease import ask, deadline, hold, prolonged, renewal_interval
from uploads.transfer.pieces import runs_of, whole_crc32
from uploads.transfer.places import minimum_of, open_segment, place_of
from uploads.transfer.threads import StoreThreads
from uploads.transfer.transactions import durable, reconnect, verb
from uploads.transfer.writer import PartWriter, commit_parts, delete_quietly, parts_made

MISSING_SHOWN = 20
WRAPPING = 2**10
"""Bytes by which a chunk may be smaller than its request, where it is wrapped in something."""
SPARE = 2
"""How many times the size of its file the parts may have that a session holds beside it."""


@verb
def receive_numbered(session: UploadSession, chunk: Chunk, number: int) -> UploadSession:
    """Store chunk ``number`` (from 1) and return the session, which stays open.

    Raises an UploadError if nothing of the chunk was counted; what the number had before is kept then.
    """
    check_open(session, Mode.NUMBERED)
    if not 1 <= number <= session.max_chunks:
        raise ChunkNumberInvalid(highest=session.max_chunks)
    if not session.segmented and session.planned_size > largest_in_one_upload():
        raise FileTooLarge(maximum=largest_in_one_upload())
    if not session.size_known:  # All of it has to go into one upload, the first chunk, too.
        session.file_size, session.mode = session.planned_size, Mode.NUMBERED
    check_range(session, chunk)
    check_bounds(session, chunk, chunk.at_most or 0, known=False)
    try:
        claim = Claim(session, get_store(session.storage), number)
        try:
            claim.take_parts(chunk.at_most)
            size = _store(claim, chunk)
        except BaseException:
            claim.give_up()
            raise
        finally:
            claim.threads.settle()
    except (SessionAborted, SessionExpired, UploadGone):
        session.refresh_from_db()
        explain_loss(session, Mode.NUMBERED)
        raise
    signals.chunk_stored.send_robust(UploadSession, session=session, size=size)
    return session


@verb
def finalize(session: UploadSession, rules: Rules = ANY, *, numbers: Collection[int] | None = None) -> UploadSession:
    """Complete a session whose chunks are all there; raise UploadIncomplete naming what is missing.

    ``numbers`` are all that the client has sent, if it says so; needed where the size of the file is not known.
    May be repeated, with the same answer for as long as the row is kept.
    """
    if session.state == State.COMPLETED:
        return session
    if session.is_finishing:
        return complete(session)
    ask(session)
    check_open(session, Mode(session.mode))
    if session.file_size == 0 and session.mode == Mode.UNDECIDED:
        return receive(session, Chunk(iter(()), rules=rules))
    if session.mode != Mode.NUMBERED and not session.is_whole:
        raise UploadIncomplete(stored=session.bytes_stored, total=session.file_size, missing="")
    with hold(session, reserve=0) as lease:
        with durable():
            # Locked: no chunk is committed between counting them and closing the session.
            locked = UploadSession.objects.select_for_update().get(pk=session.pk)
            if numbers is not None and not locked.size_known:
                locked.file_size, locked.size_known = locked.bytes_stored, True
            if locked.mode == Mode.NUMBERED:
                _check_complete(locked, rules, numbers)
            move_held(
                lease,
                State.COMPLETING,
                keep=True,
                bytes_stored=locked.bytes_stored,
                file_size=locked.file_size,
                size_known=locked.size_known,
                attempts=1,
            )
        complete_held(lease, budget=conf.current().COMPLETION_BUDGET)
    return checked(session)


class Claim:
    """An attempt to send a numbered chunk, and the part numbers it takes."""

    def __init__(self, session: UploadSession, store: Store, number: int) -> None:
        self.threads = StoreThreads(self, count=conf.current().PARALLEL_PARTS)
        self.session, self.store = session, store
        self.chunk = session.numbered_chunks.get_or_create(number=number, defaults={"claimed_until": deadline()})[0]
        self._numbers = iter(range(0))
        self.place = place_of(session, store, 0)
        self.taken = 0
        """Bytes that the parts taken may have, counted as spare until they are committed."""
        self.writer: PartWriter | None = None
        self._renewed = time.monotonic()
        self._prolong(within=2 * renewal_interval())

    def take_parts(self, at_most: int | None) -> None:
        """Take part numbers for a chunk of at most so many bytes; none where it becomes pieces."""
        if at_most is not None and self.store.takes_parts_in_any_order:
            most = min(at_most, self.session.file_size)
            numbers, self.taken, segment = _take_parts(self.session, self.store, self.chunk, most)
            self._numbers = iter(numbers)
            if segment:
                self.place = open_segment(self.session, self.store, segment, self._require_open)

    def take(self, offset: int, size: int) -> int | None:
        return next(self._numbers, None)

    def renew(self) -> None:
        if time.monotonic() - self._renewed > renewal_interval():
            self._renewed = time.monotonic()
            self._prolong()
            self._own().update(claimed_until=deadline())

    def _prolong(self, *, within: float = float("inf")) -> None:
        if values := prolonged(self.session, within=within):
            UploadSession.objects.open().filter(pk=self.session.pk).update(**values)

    def check(self) -> None:
        """Nobody else writes under the same part numbers."""

    def _require_open(self) -> None:
        check_open(UploadSession.objects.select_for_update().get(pk=self.session.pk), Mode.NUMBERED)

    def give_up(self) -> None:
        kept = self.writer.numbered_size if self.writer else 0
        try:
            reconnect()
            self._own().update(claimed_until=DatabaseNow())
            if self.taken:
                unused = F("bytes_spare") - self.taken + min(kept, self.taken)
                UploadSession.objects.filter(pk=self.session.pk).update(bytes_spare=unused)
        except Error:
            return  # It runs out by itself.

    def _own(self) -> Any:
        return NumberedChunk.objects.filter(pk=self.chunk.pk)


def _take_parts(session: UploadSession, store: Store, chunk: NumberedChunk, at_most: int) -> tuple[range, int, int]:
    """Take part numbers of the chunk's range that nobody else gets or got; tell for how many bytes, in which segment.

    None if they are too few, or if attempts that came to nothing hold as much as the file twice: parts stay in the
    store until the end, whereas pieces are deleted when nobody needs them.
    """
    nothing = range(0), 0, 0
    wanted = parts_made(session, store, at_most)
    with durable():
        locked = UploadSession.objects.select_for_update().get(pk=session.pk)
        check_open(locked, Mode.NUMBERED)
        row = NumberedChunk.objects.filter(pk=chunk.pk).first()
        if row is None:
            raise LeaseLost
        before = locked.planned_chunks
        locked.planned_chunks = _planned_chunks(locked, chunk.number, wanted, at_most)
        if not locked.planned_chunks:
            return nothing
        each = MAX_PARTS // locked.planned_chunks
        segment, place = divmod(chunk.number - 1, locked.planned_chunks)
        begin = place * each
        if segment and not locked.segmented:
            return nothing
        if row.parts_used and not store.allows_strays:
            if locked.parts.filter(chunk=chunk.number).exists():
                return nothing
            if row.claimed_until and _is_ahead(row):
                raise SessionBusy
            used = counted = 0
        else:
            counted = at_most
            # What was sent in order while nothing was stored may still be on its way.
            used = max(begin + row.parts_used, 0 if segment else locked.last_number) - begin
        numbers = range(begin + used + 1, begin + used + wanted + 1)
        too_much = locked.bytes_spare + counted > SPARE * locked.planned_size
        if too_much or used + wanted > each or not _fits(locked, store, chunk.number, numbers, 0):
            return nothing
        values = {"parts_used": max(row.parts_used, used + wanted), "claimed_until": deadline()}
        NumberedChunk.objects.filter(pk=chunk.pk).update(**values)
        changed: dict[str, Any] = {"bytes_spare": locked.bytes_spare + counted} if counted else {}
        if locked.planned_chunks != before:
            changed["planned_chunks"] = locked.planned_chunks
        if locked.mode == Mode.UNDECIDED and not segment:
            changed["numbered_number"] = max(locked.numbered_number, numbers[-1])
        if changed:
            UploadSession.objects.filter(pk=session.pk).update(**changed)
    return numbers, counted, segment


def _planned_chunks(session: UploadSession, number: int, wanted: int, at_most: int) -> int:
    """Return how many chunks share the part numbers of an upload; 0 if that cannot be known yet.

    In segments, as many of the first chunk as one has room for. Else as many as the file can have; as long as no chunk
    took any, and only if chunks like this one need more than the rules make room for, as many as it has of those.
    """
    if session.segmented:
        first = max(1, arithmetic.segment_room(session.part_size) // max(1, at_most)) if number == 1 else 0
        return session.planned_chunks or first
    planned = session.planned_chunks or session.max_chunks
    if session.planned_chunks or wanted <= MAX_PARTS // planned:
        return planned
    return min(planned, arithmetic.highest_chunk(session.planned_size, max(1, at_most - WRAPPING)))


def _is_ahead(chunk: NumberedChunk) -> bool:
    return NumberedChunk.objects.filter(pk=chunk.pk, claimed_until__gt=DatabaseNow()).exists()


def _fits(session: UploadSession, store: Store, number: int, numbers: Sequence[int], piece_bytes: int) -> bool:
    """Tell whether all pieces can be joined to parts of the planned size with the numbers between their neighbours.

    Asked for a chunk that takes part ``numbers``, or that is kept as pieces of so many bytes.
    """
    first, last = 1, session.max_chunks
    if session.segmented:
        if not session.planned_chunks:
            return True  # There are pieces alone, which can be joined anyhow.
        first = (number - 1) // session.planned_chunks * session.planned_chunks + 1
        last = first + session.planned_chunks - 1
    others = session.parts.filter(chunk__gte=first, chunk__lte=last).exclude(chunk=number)
    pieces, numbered = others.filter(number=None), others.filter(number__isnull=False)
    if not piece_bytes and not pieces.exists():
        return True
    ends = "chunk", "number"
    low = numbered.filter(chunk__lt=number).order_by("-number").values_list(*ends).first() or (first - 1, 0)
    high = numbered.filter(chunk__gt=number).order_by("number").values_list(*ends).first() or (
        last + 1,
        MAX_PARTS + 1,
    )

    def have_room(first: tuple[int, int], last: tuple[int, int], extra: int) -> bool:
        between = pieces.filter(chunk__gte=first[0], chunk__lt=last[0]).aggregate(size=Sum("size"))["size"] or 0
        size = between + extra
        return not size or parts_made(session, store, size) <= last[1] - first[1] - 1

    if not numbers:
        return have_room(low, high, piece_bytes)
    return have_room(low, (number, numbers[0]), 0) and have_room((number, numbers[-1]), high, piece_bytes)


def _store(claim: Claim, chunk: Chunk) -> int:
    """Store and commit the chunk; return its size in bytes."""
    session, store, number = claim.session, claim.store, claim.chunk.number
    with PartWriter(claim.threads, claim, session, store, offset=0, expected=chunk.at_most, chunk=number) as writer:
        claim.writer = writer
        size = write_chunk(writer, session, chunk, awaited(chunk.blocks))
        if not (size or session.size_known):
            raise EmptyChunk
        if not _may_be_last(session, chunk, number, size):
            chunk.rules.require(size)
        # Only the last chunk can be below the minimum of chunks, so it may be a part however small it is.
        small_is_last = writer.minimum <= chunk.rules.least
        parts = writer.finish(last=small_is_last or size == session.file_size)
    replaced: list[str] = []
    commit_parts(store, session, parts, lambda: replaced.extend(_commit(claim, chunk, parts)))
    delete_quietly(store, replaced)
    return size


def _may_be_last(session: UploadSession, chunk: Chunk, number: int, size: int) -> bool:
    """Tell whether the chunks before this one can be the rest of the file."""
    if not session.size_known:
        return True
    if number == 1:
        return size == session.file_size
    return (number - 1) * chunk.rules.least + size <= session.file_size


def _commit(claim: Claim, chunk: Chunk, parts: list[UploadPart]) -> list[str]:
    """Make ``parts`` the content of the chunk; return the pieces that nobody needs any more."""
    session, number = claim.session, claim.chunk.number
    with durable():
        locked = UploadSession.objects.select_for_update().get(pk=session.pk)
        check_open(locked, Mode.NUMBERED)
        before = list(locked.parts.filter(chunk=number))
        numbers = [part.number for part in parts if part.number]
        pieces = [part.piece for part in parts if part.piece]
        values: dict[str, Any] = {"updated_at": timezone.now(), "mode": Mode.NUMBERED}
        values["expires_at"] = values["updated_at"] + conf.current().SESSION_LIFETIME
        spare = locked.bytes_spare - claim.taken
        # A copy kept as pieces changes nothing: what is there may have parts already.
        if not (before and not numbers and _same_content(before, parts)):
            pieces = [part.piece for part in before if part.piece]
            values["bytes_stored"] = (
                locked.bytes_stored + sum(part.size for part in parts) - sum(part.size for part in before)
            )
            if values["bytes_stored"] > locked.planned_size:
                raise beyond(session, session.file_size - locked.bytes_stored)
            if not _fits(locked, claim.store, number, numbers, sum(part.size for part in parts if part.piece)):
                raise SessionBusy if numbers else ChunkTooWide(size=sum(part.size for part in parts))
            if before:
                locked.parts.filter(chunk=number).delete()
            UploadPart.objects.bulk_create(parts)
            if claim.store.allows_strays:
                spare += sum(part.size for part in before if part.number)
        values["bytes_spare"] = spare
        if locked.mode == Mode.UNDECIDED:
            values["fence"] = locked.fence + 1  # A writer that sends in order at this moment loses the session.
        UploadSession.objects.filter(pk=session.pk).update(**values)
    claim.taken = 0
    for name, value in values.items():
        setattr(session, name, value)
    return pieces


def _same_content(before: Sequence[UploadPart], parts: Sequence[UploadPart]) -> bool:
    return sum(part.size for part in before) == sum(part.size for part in parts) and (
        whole_crc32(before) == whole_crc32(parts)
    )


def _check_complete(session: UploadSession, rules: Rules, numbers: Collection[int] | None) -> None:
    """Raise what is missing or wrong about the chunks of a session that is to be completed."""
    parts = list(session.parts.all())
    sizes = {number: sum(part.size for part in group) for number, group in groupby(parts, lambda part: part.chunk)}
    last = max((*sizes, *(numbers or ())), default=0)
    missing = [*islice((number for number in range(1, last + 1) if number not in sizes), MISSING_SHOWN)]
    unnamed = [] if numbers is None else sorted(set(sizes).difference(numbers))[:MISSING_SHOWN]
    if missing or unnamed or session.bytes_stored != session.file_size:
        text = f"; chunks after {last} are missing"
        if missing or unnamed:
            kind = "missing chunks" if missing else "chunks that are stored, but not named"
            text = f"; {kind}: {', '.join(map(str, missing or unnamed))}"
        raise UploadIncomplete(stored=session.bytes_stored, total=session.file_size, missing=text)
    for number, size in sizes.items():
        if number != last:
            rules.require(size)
    _check_pieces(session, parts)


def _check_pieces(session: UploadSession, parts: Sequence[UploadPart]) -> None:
    """Refuse small chunks between large ones: the store takes them as parts only together with their neighbours."""
    minimum = minimum_of(session, get_store(session.storage))
    runs = runs_of(session, parts)
    for run, following in pairwise(runs):
        size = sum(part.size for part in run)
        if run[0].number is None and size < minimum and run[0].segment == following[0].segment:
            raise ChunkTooSmall(minimum=minimum, size=size)
    by_segment = [list(group) for _, group in groupby(parts, lambda part: part.segment)]
    for segment in by_segment[:-1]:
        size = sum(part.size for part in segment)
        if size < minimum:  # The store copies it into a part of the file.
            raise ChunkTooSmall(minimum=minimum, size=size)
