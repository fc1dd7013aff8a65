"""Receive the next chunk of a session.

It is stored completely or not at all, unless its protocol is progressive.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from uploads import signals
from uploads._internal import conf
from uploads._internal.parts import update_crc32
from uploads._internal.sessions.admission import check_bounds, check_open, check_range, is_whole, take_length
from uploads._internal.sessions.complete import await_check, complete, complete_held
from uploads._internal.sessions.end import release
from uploads._internal.sessions.progressive import receive_progressively
from uploads._internal.sessions.rules import Chunk, Duplicate
from uploads._internal.sessions.states import move_held
from uploads._internal.sessions.writing import delete_rows, open_writer, write_chunk
from uploads._internal.stores import get_store
from uploads._internal.stores.base import Store
from uploads._internal.transfer.lease import Lease, acquire_lease, fresh_expiry, request_handover
from uploads._internal.transfer.transactions import durable, outside_transaction
from uploads._internal.transfer.writer import Stored, commit_stored, delete_fragments, parts_among, save_stored
from uploads.exceptions import (
    ChunkAmbiguous,
    ChunkBeyondFile,
    LeaseLost,
    OffsetMismatch,
    SessionBusy,
    SessionClosed,
    UploadGone,
)
from uploads.models import PAST_SENDING, Fragment, Mode, State, UploadSession

logger = logging.getLogger(__name__)


class DuplicateChunk(Exception):
    """The chunk is the previous one, sent again."""


@outside_transaction
def receive(session: UploadSession, chunk: Chunk, *, completes: bool = True) -> UploadSession:
    """Store the next chunk of ``session``; complete the file if the chunk was the last.

    ``completes`` is False if ``finalize`` is to complete the file. Returns the session as committed: ``open``,
    ``completed``, or ``completing`` or ``checking`` if the client must query it again.

    Raises an UploadError if nothing of the chunk was counted. SessionBusy, StoreUnavailable and LeaseLost are
    temporary; the client must fix the cause of all others.

    A chunk whose bytes are already stored is a repetition after a lost response. It is not counted, and the session is
    returned unchanged. The client may declare the chunk's position (``start``, ``range``); else the request may
    identify it (``fingerprint``).

    A session that has all its bytes accepts its last chunk again, and raises SessionClosed for any other.
    """
    if session.state in PAST_SENDING:
        _require_last_chunk(session, chunk)
        return session if session.state == State.COMPLETED else complete(session)
    known = session.bytes_stored
    request_handover(session)
    if chunk.starts_at is None and session.bytes_stored != known:
        raise SessionBusy  # The previous request stored bytes that this client does not know of.
    check_open(session, Mode.SEQUENTIAL)
    if _is_repetition(session, chunk):
        return session
    check_bounds(session, chunk, chunk.at_most or 0, known=False)
    store = get_store(session.storage)
    try:
        with acquire_lease(session, writes=store.late_writes) as lease:
            lease.interrupt, lease.is_sending, lease.preemptible = (
                chunk.interrupt,
                chunk.is_sending,
                # A client that says where its chunk begins has given up the older request.
                chunk.rules.preemptible or chunk.starts_at is not None,
            )
            take_length(session, chunk)
            if chunk.rules.progressive:
                receive_progressively(lease, store, chunk)
            else:
                size = _Receipt(lease, store, chunk, completes=completes).store_chunk()
                signals.chunk_stored.send_robust(UploadSession, session=session, size=size)
            if session.state == State.COMPLETING:
                complete_held(lease, budget=conf.current().COMPLETION_BUDGET)
    except DuplicateChunk:
        logger.info("session %s: a chunk came twice; it is stored once", session.label)
    except (LeaseLost, UploadGone):
        session.refresh_from_db()
        if session.state not in PAST_SENDING:
            explain_loss(session, Mode.SEQUENTIAL)
            raise
    return await_check(session)


def explain_loss(session: UploadSession, mode: Mode) -> None:
    """Raise the error that explains why a chunk lost its session.

    Does nothing if the row, read again by the caller, does not show the reason.
    """
    if session.state in (State.ABORTED, State.EXPIRED):
        # One of our parts may have arrived after its upload was aborted.
        release(session)
    check_open(session, mode)


def _is_repetition(session: UploadSession, chunk: Chunk) -> bool:
    """Return whether the chunk is already stored; raise OffsetMismatch if bytes before it are missing."""
    check_range(session, chunk)
    start = chunk.starts_at
    if start is None:
        return False
    if start > session.bytes_stored or (start < session.bytes_stored and not chunk.rules.accepts_resends):
        raise OffsetMismatch(offset=start, expected=session.bytes_stored)
    if start >= session.bytes_stored:
        return False
    ends_at = chunk.range.last + 1 if chunk.range else start + sum(map(len, chunk.blocks))
    if ends_at > session.bytes_stored:  # Some bytes are new, but the client would assume that all are stored.
        raise OffsetMismatch(offset=start, expected=session.bytes_stored)
    return True


def _require_last_chunk(session: UploadSession, chunk: Chunk) -> None:
    """Read the chunk; raise SessionClosed unless it equals the session's last chunk.

    An empty chunk adds nothing: a client that found all bytes stored sends it to query the result.
    """
    size = crc32 = 0
    for block in chunk.blocks:
        size, crc32 = size + len(block), update_crc32(block, crc32)
        if size > session.last_chunk.get("size", 0):
            break
    if size and not _equals_last(session, size, crc32):
        raise SessionClosed(state=session.get_state_display())


def _equals_last(session: UploadSession, size: int, crc32: int) -> bool:
    last = session.last_chunk
    return bool(last) and (size, crc32) == (last["size"], last["crc32"])


class _Receipt:
    """A sequential chunk that is being stored in a held session."""

    def __init__(self, lease: Lease, store: Store, chunk: Chunk, *, completes: bool) -> None:
        self.lease, self.session, self.store = lease, lease.session, store
        self.chunk, self.completes = chunk, completes

    def store_chunk(self) -> int:
        """Store and commit the chunk; return its size in bytes."""
        session = self.session
        with open_writer(self.lease, self.store, self.chunk) as writer:
            size, crc32 = write_chunk(writer, session, self.chunk, self.lease.listen(self.chunk.blocks))
            if self.chunk.is_last and not session.size_known:
                session.file_size, session.size_known = session.bytes_stored + size, True
            self._refuse_duplicate(size, crc32)
            last = is_whole(session, session.bytes_stored + size)
            if not last and (size or self.chunk.rules.accepts_resends):  # An empty chunk is a query otherwise.
                self.chunk.rules.require(size)
            stored = writer.finish(last=last)
        taken = writer.replaced_by(stored)
        commit_stored(self.store, session, stored, lambda: self._commit(stored, taken, size, crc32))
        delete_fragments(self.store, taken)
        return size

    def _refuse_duplicate(self, size: int, crc32: int) -> None:
        """Raise DuplicateChunk if the chunk is the previous one, sent again.

        Raises ChunkAmbiguous if that cannot be decided, and ChunkBeyondFile if the chunk does not fit.
        """
        session, fingerprint = self.session, self.chunk.fingerprint
        fits, found = size <= session.remaining, Duplicate.NO
        if size and fingerprint and self.chunk.starts_at is None and _equals_last(session, size, crc32):
            found = fingerprint.compare(session.last_chunk["fingerprint"])
        if found == Duplicate.YES or (found == Duplicate.UNKNOWN and not fits):
            raise DuplicateChunk
        if not fits:
            raise ChunkBeyondFile(remaining=session.remaining, total=session.file_size)
        if found == Duplicate.UNKNOWN:
            raise ChunkAmbiguous(expected=session.bytes_stored)

    def _commit(self, stored: list[Stored], taken: Sequence[Fragment], size: int, crc32: int) -> None:
        session, fingerprint = self.session, self.chunk.fingerprint
        bytes_stored = session.bytes_stored + size
        completing = self.completes and is_whole(session, bytes_stored)
        before = session.last_chunk.get("fingerprint", {})
        with durable():
            move_held(
                self.lease,
                State.COMPLETING if completing else State.OPEN,
                keep=completing,
                stored=parts_among(stored),
                mode=Mode.SEQUENTIAL,
                attempts=int(completing),
                file_size=session.file_size,
                size_known=session.size_known,
                bytes_stored=bytes_stored,
                last_chunk={
                    "size": size,
                    "crc32": crc32,
                    "fingerprint": fingerprint.stored(before) if fingerprint else {},
                },
                expires_at=fresh_expiry(),
            )
            delete_rows(taken)
            save_stored(stored)
