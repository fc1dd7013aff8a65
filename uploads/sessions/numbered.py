"""Numbered chunks: any order, several at once, the same number replaces; ``finalize`` completes the file.

Each chunk number owns a range of part numbers, in the order of the chunks. Every attempt to send a chunk takes
new ones from it, so attempts never damage each other and no lock is held while bytes flow; the commit decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from uploads import conf, signals
from uploads.exceptions import (
    ChunkBeyondFile,
    ChunkNumberInvalid,
    ChunkTooSmall,
    SessionAborted,
    SessionExpired,
    UploadGone,
    UploadIncomplete,
)
from uploads.models import Mode, NumberedChunk, State, UploadPart, UploadSession
from uploads.parts import MAX_PARTS, minimum_part_size
from uploads.sessions.calls import StoreCalls
from uploads.sessions.complete import complete, complete_held
from uploads.sessions.lease import hold
from uploads.sessions.memory import reserved
from uploads.sessions.receive import (
    Chunk,
    check_bounds,
    check_open,
    check_range,
    check_size,
    explain_loss,
    receive,
    write_chunk,
)
from uploads.sessions.writer import PartWriter, buffer_size, delete_quietly
from uploads.stores import get_store
from uploads.stores.base import Store

MISSING_SHOWN = 20


def receive_numbered(session: UploadSession, chunk: Chunk, number: int | None) -> UploadSession:
    """Store chunk ``number`` (from 1; None means the next one) and return the session, which stays open.

    Raises an UploadError if nothing of the chunk was counted; what the number had before is kept then.
    """
    check_open(session, Mode.NUMBERED)
    if number is not None and not 1 <= number <= session.max_chunks:
        raise ChunkNumberInvalid(highest=session.max_chunks)
    check_range(session, chunk)
    check_bounds(session, chunk.at_most or 0, known=False)
    store = get_store(session.storage)
    try:
        with reserved(buffer_size(session, chunk.at_most)):
            claim = Claim(_claim(session, number), _parts_wanted(session, store, chunk.at_most))
            try:
                size = _store(claim, session, store, chunk)
            except BaseException:
                NumberedChunk.objects.filter(pk=claim.chunk.pk).update(given_up=number is None)
                raise
            finally:
                claim.settle()
    except (SessionAborted, SessionExpired, UploadGone):
        session.refresh_from_db()
        explain_loss(session, Mode.NUMBERED)
        raise
    signals.chunk_stored.send_robust(UploadSession, session=session, size=size)
    return session


def finalize(session: UploadSession) -> UploadSession:
    """Complete a session whose chunks are all there; raise UploadIncomplete naming what is missing.

    May be repeated, with the same answer for as long as the row is kept.
    """
    if session.state == State.COMPLETED:
        return session
    if session.state == State.COMPLETING:
        return complete(session)
    check_open(session, Mode(session.mode))
    if session.file_size == 0 and session.mode == Mode.UNDECIDED:
        return receive(session, Chunk(iter(())))
    if session.mode != Mode.NUMBERED:
        raise UploadIncomplete(stored=session.bytes_stored, total=session.file_size, missing="")
    with hold(session, reserve=0) as lease:
        with transaction.atomic():
            # Locked: no chunk is committed between counting them and closing the session.
            locked = UploadSession.objects.select_for_update().get(pk=session.pk)
            _check_complete(locked)
            lease.commit(keep=True, state=State.COMPLETING, bytes_stored=locked.bytes_stored)
        complete_held(lease, budget=conf.current().COMPLETION_BUDGET)
    return session


class Claim(StoreCalls):
    """An attempt to send a numbered chunk, and the part numbers it takes."""

    def __init__(self, chunk: NumberedChunk, wanted: int) -> None:
        super().__init__()
        self.chunk = chunk
        self._numbers = iter(_take_parts(chunk, wanted))

    def take_number(self) -> int | None:
        return next(self._numbers, None)


def _claim(session: UploadSession, number: int | None) -> NumberedChunk:
    """Return the row of the chunk, which counts the part numbers that its attempts took."""
    if number is None:
        return _claim_next(session)
    return session.numbered_chunks.get_or_create(number=number)[0]


def _claim_next(session: UploadSession) -> NumberedChunk:
    """Return the row of the lowest number that an attempt gave up, or of the next one."""
    for given_up in session.numbered_chunks.filter(given_up=True):
        if NumberedChunk.objects.filter(pk=given_up.pk, given_up=True).update(given_up=False):
            return given_up
    number = (session.numbered_chunks.aggregate(highest=Max("number"))["highest"] or 0) + 1
    if number > session.max_chunks:
        raise ChunkNumberInvalid(highest=session.max_chunks)
    chunk, new = session.numbered_chunks.get_or_create(number=number)
    return chunk if new else _claim_next(session)


def _take_parts(chunk: NumberedChunk, wanted: int) -> range:
    """Take part numbers of the chunk's range that nobody else gets or got; none if they are too few."""
    each = MAX_PARTS // chunk.session.max_chunks
    with transaction.atomic():
        used: int = NumberedChunk.objects.select_for_update().values_list("parts_used", flat=True).get(pk=chunk.pk)
        if used + wanted > each:
            return range(0)
        NumberedChunk.objects.filter(pk=chunk.pk).update(parts_used=used + wanted)
    first = (chunk.number - 1) * each + used + 1
    return range(first, first + wanted)


def _parts_wanted(session: UploadSession, store: Store, at_most: int | None) -> int:
    """Return how many part numbers the chunk needs; 0 if nobody knows, or the store does not take it in parts."""
    if at_most is None or not store.takes_parts_in_any_order:
        return 0
    whole, rest = divmod(at_most, session.part_size)
    return max(1, whole + (rest >= minimum_part_size(session.file_size, store.min_part_size)))


def _store(claim: Claim, session: UploadSession, store: Store, chunk: Chunk) -> int:
    """Store and commit the chunk; return its size in bytes."""
    number = claim.chunk.number
    with PartWriter(claim, session, store, offset=0, expected=chunk.at_most, chunk=number) as writer:
        size = write_chunk(writer, session, chunk)
        if not _may_be_last(session, number, size):
            check_size(size)
        # Only the last chunk can be below the minimum of chunks, so it may be a part however small it is.
        small_is_last = writer.minimum <= conf.current().MIN_CHUNK_SIZE
        parts = writer.finish(last=small_is_last or size == session.file_size)
        replaced = _commit(session, number, parts)
    delete_quietly(store, replaced)
    return size


def _may_be_last(session: UploadSession, number: int, size: int) -> bool:
    """Tell whether the chunks before this one can be the rest of the file."""
    if number == 1:
        return size == session.file_size
    return (number - 1) * conf.current().MIN_CHUNK_SIZE + size <= session.file_size


def _commit(session: UploadSession, number: int, parts: list[UploadPart]) -> list[str]:
    """Make ``parts`` the content of the chunk; return the pieces that nobody needs any more."""
    with transaction.atomic():
        locked = UploadSession.objects.select_for_update().get(pk=session.pk)
        check_open(locked, Mode.NUMBERED)
        before = list(locked.parts.filter(chunk=number))
        stored = locked.bytes_stored + sum(part.size for part in parts) - sum(part.size for part in before)
        if stored > locked.file_size:
            raise ChunkBeyondFile(remaining=locked.remaining, total=locked.file_size)
        if before:
            locked.parts.filter(chunk=number).delete()
        UploadPart.objects.bulk_create(parts)
        now = timezone.now()
        values: dict[str, Any] = {
            "mode": Mode.NUMBERED,
            "bytes_stored": stored,
            "updated_at": now,
            "expires_at": now + conf.current().SESSION_LIFETIME,
        }
        if locked.mode == Mode.UNDECIDED:
            values["fence"] = locked.fence + 1  # A writer that sends in order at this moment loses the session.
        UploadSession.objects.filter(pk=session.pk).update(**values)
    for name, value in values.items():
        setattr(session, name, value)
    return [part.piece for part in before if part.piece]


def _check_complete(session: UploadSession) -> None:
    """Raise what is missing or wrong about the chunks of a session that is to be completed."""
    parts = list(session.parts.all())
    sizes = {number: sum(part.size for part in group) for number, group in groupby(parts, lambda part: part.chunk)}
    last = max(sizes, default=0)
    missing = sorted(set(range(1, last + 1)) - set(sizes))
    if missing or session.bytes_stored != session.file_size:
        named = ", ".join(map(str, missing[:MISSING_SHOWN]))
        text = f"; missing chunks: {named}" if missing else f"; chunks after {last} are missing"
        raise UploadIncomplete(stored=session.bytes_stored, total=session.file_size, missing=text)
    for number, size in sizes.items():
        if number != last:
            check_size(size)
    _check_pieces(session, parts)


def _check_pieces(session: UploadSession, parts: Sequence[UploadPart]) -> None:
    """Refuse small chunks between large ones: the store takes them as parts only together with their neighbours."""
    minimum = minimum_part_size(session.file_size, get_store(session.storage).min_part_size)
    runs = [(is_piece, list(group)) for is_piece, group in groupby(parts, lambda part: part.number is None)]
    for is_piece, group in runs[:-1]:
        size = sum(part.size for part in group)
        if is_piece and size < minimum:
            raise ChunkTooSmall(minimum=minimum, size=size)
