"""Receive the next chunk of a session: all of it or nothing."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator

from django.utils import timezone

from uploads import conf, signals
from uploads.exceptions import (
    ChunkAmbiguous,
    ChunkBeyondFile,
    ChunkTooLarge,
    CompletionFailed,
    ContentRangeInvalid,
    LeaseLost,
    ModeConflict,
    OffsetMismatch,
    SessionAborted,
    SessionBusy,
    SessionClosed,
    SessionExpired,
    UploadError,
    UploadGone,
)
from uploads.models import Mode, State, UploadPart, UploadSession
from uploads.parts import combine_crc32, minimum_part_size
from uploads.sessions.complete import complete, complete_held
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
from uploads.sessions.rules import Chunk
from uploads.stores import get_store
from uploads.stores.base import Store
from uploads.transfer.lease import Lease, ask, hold
from uploads.transfer.pieces import read_piece, whole_crc32
from uploads.transfer.transactions import durable, verb
from uploads.transfer.writer import FRAMING, PartWriter, commit_parts, delete_quietly

logger = logging.getLogger(__name__)


@verb
def receive(session: UploadSession, chunk: Chunk) -> UploadSession:
    """Store the next chunk of ``session`` and complete the file if it was the last.

    Returns the session as committed: ``open``, ``completed``, or ``completing`` if completing must be tried
    again. Raises an UploadError if nothing of the chunk was counted: SessionBusy, StoreUnavailable and
    LeaseLost are passing, the others are the client's to mend.

    A chunk whose bytes are already stored is a repetition after a lost answer: it is not counted, and answered
    with the session as it is. The client can tell (``start``, ``range``), else its request may (see ``copies``).
    A session that has all its bytes takes its last chunk again, and raises SessionClosed for any other.
    """
    if session.state in (State.COMPLETING, State.COMPLETED):
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
            lease.interrupt = chunk.interrupt
            size = _Receipt(lease, get_store(session.storage), chunk, reading).store_chunk()
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
        if session.state not in (State.COMPLETING, State.COMPLETED):
            explain_loss(session, Mode.SEQUENTIAL)
            raise
    return session


def explain_loss(session: UploadSession, mode: Mode) -> None:
    """Raise the error that tells why a chunk lost its session to somebody else, if the row, read anew, tells."""
    if session.state in (State.ABORTED, State.EXPIRED):
        # A part of ours may have arrived after its upload was aborted.
        release(session)
    check_open(session, mode)


def alive(session: UploadSession) -> UploadSession:
    """Return the session; raise SessionAborted or SessionExpired if it is no more."""
    if session.state == State.ABORTED:
        raise SessionAborted
    if session.state == State.EXPIRED or (session.state == State.OPEN and session.expires_at <= timezone.now()):
        raise SessionExpired
    return session


def check_open(session: UploadSession, mode: Mode) -> None:
    """Raise the error that says why ``session`` takes no chunk sent in this way, if it takes none."""
    alive(session)
    if session.state == State.FAILED:
        raise CompletionFailed(reason=session.failure)
    if session.state != State.OPEN:
        raise SessionClosed(state=session.get_state_display())
    if session.mode not in (Mode.UNDECIDED, mode):
        raise ModeConflict(mode=session.get_mode_display())


def check_bounds(session: UploadSession, chunk: Chunk, size: int, *, known: bool = True) -> None:
    """Refuse a chunk that has grown too large; ``known`` False for an upper bound, which framing may exceed."""
    maximum = chunk.rules.most
    slack = 0 if known else FRAMING
    if maximum is not None and size > maximum + slack:
        raise ChunkTooLarge(maximum=maximum)
    remaining = session.file_size - (0 if session.mode == Mode.NUMBERED else session.bytes_certain)
    # The one before, sent again, may go beyond the file: only when it is read it is known for what it is.
    again = session.last_size or 0 if chunk.origin and chunk.starts_at is None else 0
    if size > max(remaining, again) + slack:
        raise ChunkBeyondFile(remaining=remaining, total=session.file_size)


def check_range(session: UploadSession, chunk: Chunk, size: int | None = None) -> None:
    """Refuse a chunk whose Content-Range contradicts the session, or its own ``size`` once that is known."""
    given = chunk.range
    if given is None:
        return
    if given.total not in (None, session.file_size):
        reason = f"the file has {session.file_size} bytes"
    elif given.last >= session.file_size:
        reason = f"the last byte of the file is {session.file_size - 1}"
    elif size not in (None, given.last - given.first + 1):
        reason = f"the chunk has {size} bytes"
    else:
        return
    value = f"bytes {given.first}-{given.last}/{given.total if given.total is not None else '*'}"
    raise ContentRangeInvalid(value=value, reason=reason)


def listen(lease: Lease, chunk: Chunk) -> Iterator[bytes]:
    """Yield the chunk's blocks; raise LeaseLost if the reading ends because somebody else got the session."""
    while True:
        try:
            with lease.listening():
                block = next(chunk.blocks, None)
        except UploadError as error:
            if lease.wanted or lease.lost:
                raise LeaseLost from error
            raise
        if block is None:
            return
        yield block


def write_chunk(writer: PartWriter, session: UploadSession, chunk: Chunk, blocks: Iterator[bytes]) -> int:
    """Write the chunk's blocks as they arrive; return how many bytes there were."""
    size = 0
    for block in blocks:
        size += len(block)
        check_bounds(session, chunk, size)
        writer.write(block)
    check_range(session, chunk, size)
    return size


def _is_repetition(session: UploadSession, chunk: Chunk) -> bool:
    """Tell whether the chunk's bytes are stored already; raise OffsetMismatch if bytes before it are missing."""
    check_range(session, chunk)
    start = chunk.starts_at
    if start is not None and start > session.bytes_stored:
        raise OffsetMismatch(offset=start, expected=session.bytes_certain)
    return start is not None and start < session.bytes_certain


def _require_last_chunk(session: UploadSession, chunk: Chunk) -> None:
    """Read the chunk and raise SessionClosed unless it is the one that made the session whole.

    An empty one adds nothing: it is the question of a client that found all bytes stored.
    """
    size = crc32 = 0
    for block in chunk.blocks:
        size, crc32 = size + len(block), zlib.crc32(block, crc32)
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
        """Pieces at the end of what is stored, which are read again to make parts."""
        self.joined: list[UploadPart] = []
        """Parts made of them alone."""

    def store_chunk(self) -> int:
        """Store and commit the chunk; return its size in bytes."""
        session = self.session
        tail_size = self._take_up_tail()
        expected = self.chunk.at_most and self.chunk.at_most + tail_size
        offset = session.bytes_stored - tail_size
        with PartWriter(
            self.lease.threads, self.lease.numbers, session, self.store, offset=offset, expected=expected
        ) as writer:
            for piece in self.tail if tail_size else ():
                for block in read_piece(self.store, piece):
                    writer.write(block)
            size = write_chunk(writer, session, self.chunk, listen(self.lease, self.chunk))
            if self.chunk.is_whole:
                session.file_size = size
            beyond = size > session.file_size - session.bytes_certain
            if beyond and size != session.last_size:
                raise ChunkBeyondFile(remaining=session.remaining, total=session.file_size)
            if not beyond:
                self.reading = read_as_summed(session, self.reading, size)
            last = size == session.remaining + self.reading.dropped_size
            if not last:
                self.chunk.rules.require(size)
            parts = writer.finish(last=last)
            crc32 = whole_crc32(parts)
            if tail_size:  # What a chunk adds to the CRC-32 of the bytes before it is linear in these.
                crc32 ^= combine_crc32(whole_crc32(self.tail), 0, size)
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

    def _writer(self, offset: int, expected: int | None) -> PartWriter:
        lease = self.lease
        return PartWriter(lease.threads, lease.numbers, self.session, self.store, offset=offset, expected=expected)

    def _take_up_tail(self) -> int:
        """Decide what becomes of the pieces at the end; return how many bytes of them go before the chunk.

        They wait where even with the chunk they are too few for a part, and stay apart from a chunk that may have to
        be dropped. Then the chunk becomes a piece, too.
        """
        session, lease, chunk = self.session, self.lease, self.chunk
        minimum = minimum_part_size(session.file_size, self.store.min_part_size)
        if lease.numbers.in_pieces:
            return 0
        apart = self._may_be_copy()
        if not session.tail_size:
            lease.numbers.in_pieces = apart and not self.store.allows_strays
            return 0
        few = chunk.at_most is not None and session.tail_size + chunk.at_most < min(minimum, session.remaining)
        if few or (apart and session.tail_size < minimum):
            lease.numbers.in_pieces = True
            return 0
        self.tail = list(session.parts.filter(number=None))
        if not apart:
            return session.tail_size
        self.joined = self._join_tail()
        lease.numbers.in_pieces = not self.store.allows_strays
        return 0

    def _join_tail(self) -> list[UploadPart]:
        size = self.session.tail_size
        offset = self.session.bytes_stored - size
        with PartWriter(
            self.lease.threads, self.lease.numbers, self.session, self.store, offset=offset, expected=size
        ) as writer:
            for piece in self.tail:
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
        whole = stored == session.file_size
        kept = 0 if self.tail else session.tail_size - sum(part.size for part in gone if part.number is None)
        for part in parts:
            part.offset -= dropped
        numbers = [part.number for part in parts if part.number]
        with durable():
            self.lease.commit(
                keep=whole,
                mode=Mode.SEQUENTIAL,
                state=State.COMPLETING if whole else State.OPEN,
                attempts=int(whole),
                file_size=session.file_size,
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
