"""Receive the next chunk of a session: all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from uploads import conf, signals
from uploads.exceptions import (
    ChunkBeyondFile,
    ChunkNotMultiple,
    ChunkTooLarge,
    ChunkTooSmall,
    CompletionFailed,
    ContentRangeInvalid,
    EmptyChunk,
    LeaseLost,
    ModeConflict,
    OffsetMismatch,
    SessionAborted,
    SessionClosed,
    SessionExpired,
    UploadGone,
)
from uploads.models import Mode, State, UploadPart, UploadSession
from uploads.sessions.complete import complete, complete_held
from uploads.sessions.end import release
from uploads.sessions.lease import Lease, hold
from uploads.sessions.memory import reserved
from uploads.sessions.pieces import read_piece
from uploads.sessions.writer import FRAMING, PartWriter, buffer_size, delete_quietly
from uploads.stores import get_store
from uploads.stores.base import Store


@dataclass(frozen=True)
class ByteRange:
    """What a Content-Range says of a chunk: first and last byte, and the size of the file if it says so."""

    first: int
    last: int
    total: int | None


@dataclass(frozen=True)
class Chunk:
    """A chunk on its way in: blocks of bytes as they arrive. Iterating raises if the body is cut or malformed."""

    blocks: Iterator[bytes]
    at_most: int | None = None
    """An upper bound of its size in bytes, if one is known before the end."""
    start: int | None = None
    """Where in the file the client says it starts, if it says so."""
    range: ByteRange | None = None
    """The same, and more, from a Content-Range."""


def receive(session: UploadSession, chunk: Chunk) -> UploadSession:
    """Store the next chunk of ``session`` and complete the file if it was the last.

    Returns the session as committed: ``open``, ``completed``, or ``completing`` if completing must be tried
    again. Raises an UploadError if nothing of the chunk was counted: SessionBusy, StoreUnavailable and
    LeaseLost are passing, the others are the client's to mend.

    A chunk whose bytes are already stored is a repetition after a lost answer: it is not read, and answered
    with the session as it is. Only the client can tell (``start``, ``range``, or a session that has all its
    bytes): two equal chunks in a row are legal.
    """
    if session.state == State.COMPLETED:
        return session
    if session.state == State.COMPLETING:
        return complete(session)
    check_open(session, Mode.SEQUENTIAL)
    if _is_repetition(session, chunk):
        return session
    check_bounds(session, chunk.at_most or 0, known=False)
    expected_parts = (chunk.at_most or session.part_size) // session.part_size + 1
    try:
        with reserved(buffer_size(session, chunk.at_most)), hold(session, reserve=expected_parts) as lease:
            size = _store(lease, get_store(session.storage), chunk)
            signals.chunk_stored.send_robust(UploadSession, session=session, size=size)
            if session.state == State.COMPLETING:
                complete_held(lease, budget=conf.current().COMPLETION_BUDGET)
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


def check_bounds(session: UploadSession, size: int, *, known: bool = True) -> None:
    """Refuse a chunk that has grown too large; ``known`` False for an upper bound, which framing may exceed."""
    maximum = conf.current().MAX_CHUNK_SIZE
    slack = 0 if known else FRAMING
    if maximum is not None and size > maximum + slack:
        raise ChunkTooLarge(maximum=maximum)
    remaining = session.file_size if session.mode == Mode.NUMBERED else session.remaining
    if size > remaining + slack:
        raise ChunkBeyondFile(remaining=remaining, total=session.file_size)


def check_size(size: int) -> None:
    """Refuse the size of a chunk that is not the last (protocol: multiple of 512 and at least 10 MiB)."""
    config = conf.current()
    if size == 0:
        raise EmptyChunk
    if size < config.MIN_CHUNK_SIZE:
        raise ChunkTooSmall(minimum=config.MIN_CHUNK_SIZE, size=size)
    if size % config.CHUNK_MULTIPLE:
        raise ChunkNotMultiple(multiple=config.CHUNK_MULTIPLE, size=size)


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


def write_chunk(writer: PartWriter, session: UploadSession, chunk: Chunk) -> int:
    """Write the chunk's bytes as they arrive; return how many there were."""
    size = 0
    for block in chunk.blocks:
        size += len(block)
        check_bounds(session, size)
        writer.write(block)
    check_range(session, chunk, size)
    return size


def _is_repetition(session: UploadSession, chunk: Chunk) -> bool:
    """Tell whether the chunk's bytes are stored already; raise OffsetMismatch if bytes before it are missing."""
    check_range(session, chunk)
    start = chunk.range.first if chunk.range else chunk.start
    if start is not None and start > session.bytes_stored:
        raise OffsetMismatch(offset=start, expected=session.bytes_stored)
    return start is not None and start < session.bytes_stored


def _store(lease: Lease, store: Store, chunk: Chunk) -> int:
    """Store and commit the chunk; return its size in bytes."""
    session = lease.session
    tail = session.parts.get(number=None) if session.tail_size else None
    offset = tail.offset if tail else session.bytes_stored
    expected = chunk.at_most and chunk.at_most + session.tail_size
    with PartWriter(lease, session, store, offset=offset, expected=expected) as writer:
        for block in read_piece(store, tail) if tail else ():
            writer.write(block)
        size = write_chunk(writer, session, chunk)
        last = size == session.remaining
        if not last:
            check_size(size)
        _commit(lease, writer.finish(last=last), size=size, tail=tail)
    if tail:
        delete_quietly(store, [tail.piece])
    return size


def _commit(lease: Lease, parts: list[UploadPart], *, size: int, tail: UploadPart | None) -> None:
    session = lease.session
    whole = size == session.remaining
    with transaction.atomic():
        lease.commit(
            keep=whole,
            mode=Mode.SEQUENTIAL,
            state=State.COMPLETING if whole else State.OPEN,
            bytes_stored=session.bytes_stored + size,
            tail_size=sum(part.size for part in parts if part.number is None),
            expires_at=timezone.now() + conf.current().SESSION_LIFETIME,
        )
        if tail:
            tail.delete()
        UploadPart.objects.bulk_create(parts)
