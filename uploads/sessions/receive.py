"""Receive a chunk: all of it or nothing."""

from __future__ import annotations

import logging
import zlib
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
    EmptyChunk,
    LeaseLost,
    SessionAborted,
    SessionExpired,
    StoreUnavailable,
    UploadError,
)
from uploads.models import State, UploadPart, UploadSession
from uploads.sessions.complete import complete, complete_held
from uploads.sessions.end import release
from uploads.sessions.lease import Lease, hold
from uploads.sessions.writer import PartWriter
from uploads.stores import get_store
from uploads.stores.base import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chunk:
    """A chunk on its way in: blocks of bytes as they arrive. Iterating raises if the body is cut or malformed."""

    blocks: Iterator[bytes]
    at_most: int | None = None
    """An upper bound of its size in bytes, if one is known before the end."""


def receive(session: UploadSession, chunk: Chunk) -> UploadSession:
    """Store the next chunk of ``session`` and complete the file if it was the last.

    Returns the session as committed: ``open``, ``completed``, or ``completing`` if completing must be tried
    again. Raises an UploadError if nothing of the chunk was counted: SessionBusy, StoreUnavailable and
    LeaseLost are passing, the others are the client's to mend. A chunk for a session that has all its bytes
    is a repetition of the last one: it is not read, and answered as the last one was or would have been.
    """
    if session.state == State.COMPLETED:
        return session
    if session.state == State.COMPLETING:
        return complete(session)
    check_open(session)
    _check_bounds(session, chunk.at_most or 0, known=False)
    expected_parts = (chunk.at_most or session.part_size) // session.part_size + 1
    try:
        with hold(session, reserve=expected_parts) as lease:
            size = _store_chunk(lease, get_store(session.storage), chunk)
            signals.chunk_stored.send(UploadSession, session=session, size=size)
            if session.state == State.COMPLETING:
                complete_held(lease)
    except LeaseLost:
        _clean_up_behind_us(session)
        raise
    return session


def check_open(session: UploadSession) -> None:
    """Raise the error that says why ``session`` takes no chunk, if it takes none."""
    if session.state == State.ABORTED:
        raise SessionAborted
    if session.state == State.EXPIRED or (session.state == State.OPEN and session.expires_at <= timezone.now()):
        raise SessionExpired
    if session.state == State.FAILED:
        raise CompletionFailed(reason=session.failure)


def _store_chunk(lease: Lease, store: Store, chunk: Chunk) -> int:
    """Store and commit the chunk; return its size in bytes."""
    session = lease.session
    tail = session.parts.get(number=None) if session.tail_size else None
    writer = PartWriter(lease, store, offset=tail.offset if tail else session.bytes_stored)
    if tail:
        writer.write(_read_piece(lease, store, tail))
    size = 0
    for block in chunk.blocks:
        size += len(block)
        _check_bounds(session, size)
        lease.renew()
        writer.write(block)
    _check_size(session, size)
    rest = writer.finish(last=size == session.remaining)
    if rest:
        writer.parts.append(_store_piece(lease, store, writer.offset, rest))
    lease.call(store.sync, writer.upload)
    _commit(lease, writer.parts, size=size, tail=tail, tail_size=len(rest))
    if tail:
        delete_quietly(store, [tail.piece])
    return size


def _check_bounds(session: UploadSession, size: int, *, known: bool = True) -> None:
    """Refuse a chunk that has grown too large; ``known`` False for an upper bound, which framing may exceed."""
    maximum = conf.current().MAX_CHUNK_SIZE
    slack = 0 if known else 2**20
    if maximum is not None and size > maximum + slack:
        raise ChunkTooLarge(maximum=maximum)
    if size > session.remaining + slack:
        raise ChunkBeyondFile(remaining=session.remaining, total=session.file_size)


def _check_size(session: UploadSession, size: int) -> None:
    """Refuse a chunk of the wrong size that is not the last (protocol: multiple of 512 and at least 10 MiB)."""
    if size == session.remaining:
        return
    config = conf.current()
    if size == 0:
        raise EmptyChunk
    if size < config.MIN_CHUNK_SIZE:
        raise ChunkTooSmall(minimum=config.MIN_CHUNK_SIZE, size=size)
    if size % config.CHUNK_MULTIPLE:
        raise ChunkNotMultiple(multiple=config.CHUNK_MULTIPLE, size=size)


def _read_piece(lease: Lease, store: Store, piece: UploadPart) -> bytes:
    data = lease.call(lambda: b"".join(store.read(piece.piece)))
    if zlib.crc32(data) != piece.crc32:
        logger.error("session %s: the store returned other bytes for %s", lease.session.pk, piece.piece)
        raise StoreUnavailable
    return data


def _store_piece(lease: Lease, store: Store, offset: int, data: bytearray) -> UploadPart:
    """Keep bytes that are too few for a part as an object of their own, under a name nobody else ever uses."""
    session = lease.session
    crc32 = zlib.crc32(data)
    name = f"{session.object_name}.piece-{session.fence}"
    lease.call(store.put_piece, name, data, crc32=crc32, encrypted=session.encrypted)
    return UploadPart(session=session, offset=offset, size=len(data), crc32=crc32, piece=name)


def _commit(lease: Lease, parts: list[UploadPart], *, size: int, tail: UploadPart | None, tail_size: int) -> None:
    session = lease.session
    whole = size == session.remaining
    with transaction.atomic():
        lease.commit(
            keep=whole,
            state=State.COMPLETING if whole else State.OPEN,
            bytes_stored=session.bytes_stored + size,
            tail_size=tail_size,
            expires_at=timezone.now() + conf.current().SESSION_LIFETIME,
        )
        if tail:
            tail.delete()
        UploadPart.objects.bulk_create(parts)


def delete_quietly(store: Store, names: list[str]) -> None:
    """Delete objects that no row names any more; what cannot be deleted now, the audit finds."""
    try:
        store.delete(names)
    except UploadError:
        logger.warning("could not delete %s", names)


def _clean_up_behind_us(session: UploadSession) -> None:
    """Release an ended session again: a part of ours may have arrived after its upload was aborted."""
    session.refresh_from_db()
    if session.state in (State.ABORTED, State.EXPIRED):
        release(session)
