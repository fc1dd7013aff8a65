"""Receive the next chunk of a session: all of it or nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from django.utils import timezone

from uploads import conf, signals
from uploads.exceptions import (
    ChunkAmbiguous,
    ChunkBeyondFile,
    LeaseLost,
    OffsetMismatch,
    SessionBusy,
    SessionClosed,
    UploadGone,
)
from uploads.models import PAST_SENDING, Mode, State, UploadPart, UploadSession
from uploads.parts import combine_crc32, update_crc32
from uploads.sessions.admission import (
    check_bounds,
    check_open,
    check_range,
    is_whole,
    listen,
    take_length,
    write_chunk,
)
from uploads.sessions.complete import checked, complete, complete_held
from uploads.sessions.copies import (
    IsCopy,
    Reading,
    Suspects,
    Verdict,
    ambiguous,
    judge,
    read_as_sent,
    read_as_summed,
    remembered,
)
from uploads.sessions.end import release
from uploads.sessions.progressive import receive_progressively
from uploads.sessions.rules import Chunk
from uploads.sessions.states import move_held
from uploads.stores import get_store
from uploads.stores.base import Store
from uploads.transfer.lease import Lease, ask, hold
from uploads.transfer.pieces import whole_crc32
from uploads.transfer.places import minimum_of
from uploads.transfer.transactions import durable, verb
from uploads.transfer.writer import FRAMING, PartWriter, commit_parts, delete_quietly, read_piece

logger = logging.getLogger(__name__)


@verb
def receive(session: UploadSession, chunk: Chunk) -> UploadSession:
    """Store the next chunk of ``session`` and complete the file if it was the last.

    Returns the session as committed: ``open``, ``completed``, or ``completing`` or ``checking`` if it is to be asked
    for again. Raises an UploadError if nothing of the chunk was counted: SessionBusy, StoreUnavailable and LeaseLost
    are passing, the others are the client's to mend.

    A chunk whose bytes are already stored is a repetition after a lost answer: it is not counted, and answered
    with the session as it is. The client can tell (``start``, ``range``), else its request may (see ``copies``).
    A session that has all its bytes takes its last chunk again, and raises SessionClosed for any other.
    """
    if session.state in PAST_SENDING:
        _require_last_chunk(session, chunk)
        return session if session.state == State.COMPLETED else complete(session)
    known = session.bytes_stored
    ask(session)
    if chunk.starts_at is None and session.bytes_stored != known:
        raise SessionBusy  # Its client did not know of what the one before stored meanwhile.
    check_open(session, Mode.SEQUENTIAL)
    if _is_repetition(session, chunk):
        return session
    reading = read_as_sent(session, chunk.starts_at)
    check_bounds(session, chunk, chunk.at_most or 0, known=False)
    expected_parts = (chunk.at_most or session.part_size) // session.part_size + 1
    try:
        with hold(session, reserve=expected_parts) as lease:
            lease.interrupt, lease.is_sending, lease.yields = chunk.interrupt, chunk.is_sending, chunk.rules.yields
            take_length(session, chunk)
            store = get_store(session.storage)
            if chunk.rules.progressive and not reading.dropped:
                receive_progressively(lease, store, chunk)
            else:
                size = _Receipt(lease, store, chunk, reading).store_chunk()
                signals.chunk_stored.send_robust(UploadSession, session=session, size=size)
            if session.state == State.COMPLETING:
                complete_held(lease, budget=conf.current().COMPLETION_BUDGET)
    except IsCopy:
        logger.info("session %s: a chunk came twice; it is stored once", session.pk)
    except ChunkAmbiguous:
        UploadSession.objects.filter(pk=session.pk).update(doubted=True)
        raise
    except (LeaseLost, UploadGone):
        session.refresh_from_db()
        if session.state not in PAST_SENDING:
            explain_loss(session, Mode.SEQUENTIAL)
            raise
    return checked(session)


def explain_loss(session: UploadSession, mode: Mode) -> None:
    """Raise the error that tells why a chunk lost its session to somebody else, if the row, read anew, tells."""
    if session.state in (State.ABORTED, State.EXPIRED):
        # A part of ours may have arrived after its upload was aborted.
        release(session)
    check_open(session, mode)


def _is_repetition(session: UploadSession, chunk: Chunk) -> bool:
    """Tell whether the chunk's bytes are stored already; raise OffsetMismatch if bytes before it are missing."""
    check_range(session, chunk)
    start = chunk.starts_at
    if start is None:
        return False
    if start > session.bytes_stored or (start < session.bytes_certain and not chunk.rules.repeats):
        raise OffsetMismatch(offset=start, expected=session.bytes_certain)
    if start >= session.bytes_certain:
        return False
    ends_at = chunk.range.last + 1 if chunk.range else start + sum(map(len, chunk.blocks))
    if ends_at > session.bytes_certain:  # Some of it is new: its client would take all for stored.
        raise OffsetMismatch(offset=start, expected=session.bytes_certain)
    return True


def _require_last_chunk(session: UploadSession, chunk: Chunk) -> None:
    """Read the chunk and raise SessionClosed unless it is the one that made the session whole.

    An empty one adds nothing: it is the question of a client that found all bytes stored.
    """
    size = crc32 = 0
    for block in chunk.blocks:
        size, crc32 = size + len(block), update_crc32(block, crc32)
        if size > (session.last_size or 0):
            break
    if size and (size, crc32) != (session.last_size, session.last_crc32):
        raise SessionClosed(state=session.get_state_display())


class _Receipt:
    """One chunk in order on its way into a held session."""

    def __init__(self, lease: Lease, store: Store, chunk: Chunk, reading: Reading) -> None:
        self.lease, self.session, self.store = lease, lease.session, store
        self.chunk, self.reading = chunk, reading
        self.tail: list[UploadPart] = []
        """Pieces at the end of what is stored, which become parts with the chunk."""
        self.into_joined: list[UploadPart] = []
        self.joined: list[UploadPart] = []
        """Parts made of such pieces alone."""

    def store_chunk(self) -> int:
        """Store and commit the chunk; return its size in bytes."""
        session = self.session
        self._take_up_tail()
        with self._writer(session.bytes_stored, self.chunk.at_most, before=self.tail) as writer:
            size = write_chunk(writer, session, self.chunk, listen(self.lease, self.chunk))
            if self.chunk.is_last and not session.size_known:
                session.file_size, session.size_known = session.bytes_stored - self.reading.dropped_size + size, True
            beyond = size > session.file_size - session.bytes_certain
            if beyond and size != session.last_size:
                raise ChunkBeyondFile(remaining=session.remaining, total=session.file_size)
            if not beyond:
                self.reading = read_as_summed(session, self.reading, size)
            last = is_whole(session, session.bytes_stored - self.reading.dropped_size + size)
            if not last and (size or self.chunk.rules.repeats):  # else an empty one is a question
                self.chunk.rules.require(size)
            parts = writer.finish(last=last)
            crc32 = whole_crc32(parts)
            if writer.before:  # Even with the chunk the pieces before it are too few for a part.
                self.tail = []
            elif self.tail:  # What a chunk adds to the CRC-32 of the bytes before it is linear in these.
                crc32 ^= combine_crc32(whole_crc32(self.tail), 0, size)
            self.tail += self.into_joined
            suspects = self._suspects(size, crc32, beyond=beyond)
            if last and suspects:
                if self.chunk.rules.allow(size) or session.doubted:
                    raise ambiguous(session)
                suspects = ()  # Such a chunk can only be the last one, so the sum is the client's, too.
        parts = [*self.joined, *parts]
        dropped = list(self._dropped_parts())
        commit_parts(self.store, session, parts, lambda: self._commit(parts, dropped, size, crc32, suspects))
        delete_quietly(self.store, [part.piece for part in (*self.tail, *dropped) if part.piece])
        return size

    def _writer(self, offset: int, expected: int | None, before: Sequence[UploadPart] = ()) -> PartWriter:
        lease = self.lease
        return PartWriter(
            lease.threads,
            lease.numbers,
            self.session,
            self.store,
            offset=offset,
            expected=expected,
            before=before,
        )

    def _take_up_tail(self) -> None:
        """Decide what becomes of the pieces at the end: they go before the chunk, or stay.

        They stay apart from a chunk that may have to be dropped. Then the chunk becomes a piece, too.
        """
        session, numbers = self.session, self.lease.numbers
        minimum = minimum_of(session, self.store)
        if numbers.in_pieces:
            return
        apart = self._may_be_copy()
        if not session.tail_size:
            numbers.in_pieces = apart and not self.store.allows_strays
        elif not apart:
            self.tail = list(session.parts.filter(number=None))
        elif session.tail_size < minimum:
            numbers.in_pieces = True
        else:
            self.into_joined = list(session.parts.filter(number=None))
            self.joined = self._join_tail()
            numbers.in_pieces = not self.store.allows_strays

    def _join_tail(self) -> list[UploadPart]:
        size = self.session.tail_size
        offset = self.session.bytes_stored - size
        with self._writer(offset, size) as writer:
            for piece in self.into_joined:
                for block in read_piece(self.store, piece):
                    writer.write(block)
            return writer.finish(last=False)

    def _may_be_copy(self) -> bool:
        """Tell whether the chunk, if it equals the one before, might be the same one: before it is read."""
        session, at_most = self.session, self.chunk.at_most
        if self.chunk.starts_at is not None or session.last_size is None:
            return False
        as_large = at_most is None or 0 <= at_most - session.last_size <= FRAMING
        return as_large and judge(session.last_origin, self.chunk.origin) == Verdict.UNSURE

    def _suspects(self, size: int, crc32: int, *, beyond: bool) -> Suspects:
        """Return the suspects after this chunk; raise IsCopy if it is a copy itself."""
        session, suspects = self.session, self.reading.suspects
        equal = size > 0 and (size, crc32) == (session.last_size, session.last_crc32)
        verdict = Verdict.NEW
        if equal and self.chunk.starts_at is None:
            verdict = judge(session.last_origin, self.chunk.origin)
        if verdict == Verdict.COPY or (verdict == Verdict.UNSURE and beyond):
            raise IsCopy
        if beyond:
            raise ChunkBeyondFile(remaining=session.remaining, total=session.file_size)
        if verdict == Verdict.UNSURE:
            if self.reading.dropped:
                raise ambiguous(session)
            suspects = (*suspects, (session.bytes_stored, size))
        return suspects

    def _commit(
        self, parts: list[UploadPart], gone: list[UploadPart], size: int, crc32: int, suspects: Suspects
    ) -> None:
        session, dropped = self.session, self.reading.dropped_size
        stored = session.bytes_stored - dropped + size
        whole = is_whole(session, stored)
        kept = 0 if self.tail else session.tail_size - sum(part.size for part in gone if part.number is None)
        for part in parts:
            part.offset -= dropped
        numbers = [part.number for part in parts if part.number and part.segment == session.segment]
        with durable():
            move_held(
                self.lease,
                State.COMPLETING if whole else State.OPEN,
                keep=whole,
                mode=Mode.SEQUENTIAL,
                attempts=int(whole),
                file_size=session.file_size,
                size_known=session.size_known,
                bytes_stored=stored,
                tail_size=kept + sum(part.size for part in parts if part.number is None),
                committed_number=max(numbers, default=session.committed_number),
                last_size=size,
                last_crc32=crc32,
                last_origin=remembered(session.last_origin, self.chunk.origin),
                suspects=[list(suspect) for suspect in suspects],
                doubted=session.doubted and bool(suspects),
                expires_at=timezone.now() + conf.current().SESSION_LIFETIME,
            )
            self._delete([*self.tail, *gone])
            if dropped:
                self._close_up()
            UploadPart.objects.bulk_create(parts)

    def _dropped_parts(self) -> Iterator[UploadPart]:
        for offset, size in self.reading.dropped:
            yield from self.session.parts.filter(offset__gte=offset, offset__lt=offset + size)

    def _delete(self, rows: list[UploadPart]) -> None:
        if rows:
            self.session.parts.filter(pk__in=[row.pk for row in rows]).delete()

    def _close_up(self) -> None:
        """Move what follows the dropped bytes to where these were; one by one, because offsets are unique."""
        offset = self.reading.dropped[0][0]
        for part in list(self.session.parts.filter(offset__gte=offset)):
            UploadPart.objects.filter(pk=part.pk).update(offset=offset)
            offset += part.size
