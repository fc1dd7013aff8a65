"""Receive a chunk of which all that arrives stays: parts are committed as they land, and what is left at the end.

For protocols whose clients send a whole file in one request, and ask how much of it came when that was interrupted.
"""

from __future__ import annotations

import time
from typing import Any

from uploads import signals
from uploads._internal.sessions.admission import is_whole, size_error
from uploads._internal.sessions.rules import Chunk
from uploads._internal.sessions.states import move_held
from uploads._internal.sessions.writing import delete_rows, open_writer
from uploads._internal.stores.base import Store
from uploads._internal.transfer.lease import Lease, fresh_expiry
from uploads._internal.transfer.transactions import durable
from uploads._internal.transfer.writer import (
    PartWriter,
    Stored,
    commit_stored,
    delete_fragments,
    parts_among,
    save_stored,
)
from uploads.exceptions import BodyInterrupted, ChunkTooLarge, LeaseLost
from uploads.models import Mode, State, UploadSession

COMMIT_EVERY = 0.25
"""Seconds between two commits inside a request, at least: so much of it has to come again if its process is killed. A
commit for each part of a fast line would take as long as the parts."""


def receive_progressively(lease: Lease, store: Store, chunk: Chunk) -> None:
    """Store what comes of ``chunk`` in the session that ``lease`` holds; it is let go of, or ``completing``, then.

    Raises what ended the body too early, after what came is committed; LeaseLost if another request asked for the
    session and gets it.
    """
    _Progress(lease, store, chunk).run()


class _Progress:
    def __init__(self, lease: Lease, store: Store, chunk: Chunk) -> None:
        self.lease, self.session, self.store, self.chunk = lease, lease.session, store, chunk
        self.start = self.session.bytes_stored
        self.received = 0
        self.committed = time.monotonic()

    def run(self) -> None:
        ended: Exception | None = None
        with open_writer(self.lease, self.store, self.chunk) as writer:
            try:
                for block in self.lease.listen(self.chunk.blocks):
                    self._count(len(block))
                    writer.write(block)
                    if time.monotonic() - self.committed > COMMIT_EVERY:
                        self._commit(writer, writer.take_stored())
            except BodyInterrupted as error:
                ended = error
            except LeaseLost as error:
                if self.lease.lost or not self.lease.wanted:
                    raise
                ended = error
            if ended is None and self.chunk.is_last and not self.session.size_known:
                self.session.file_size, self.session.size_known = self.start + self.received, True
            whole = is_whole(self.session, self.start + self.received)
            stored = writer.finish(last=whole)
        # Not inside: a writer that fails deletes its fragments, and nobody knows yet whether a row names them.
        self._commit(writer, stored, last=True, whole=whole)
        if ended is not None:
            raise ended

    def _count(self, size: int) -> None:
        session, most = self.session, self.chunk.rules.most
        self.received += size
        if self.start + self.received > session.file_size:
            raise size_error(session, session.file_size - self.start)
        if most is not None and self.received > most:
            raise ChunkTooLarge(maximum=most)

    def _commit(self, writer: PartWriter, stored: list[Stored], *, last: bool = False, whole: bool = False) -> None:
        """Commit what is stored; with the ``last`` of the request the session is let go of unless ``whole``."""
        session = self.session
        if not (stored or last):
            return
        self.committed = time.monotonic()
        taken = writer.replaced_by(stored)
        before = session.bytes_stored
        values: dict[str, Any] = {
            "mode": Mode.SEQUENTIAL,
            "attempts": int(whole),
            "file_size": session.file_size,
            "size_known": session.size_known,
            "bytes_stored": stored[-1].offset + stored[-1].size if stored else before,
            "expires_at": fresh_expiry(),
            "last_chunk": {},
        }

        def commit() -> None:
            with durable():
                to = State.COMPLETING if whole else State.OPEN
                move_held(self.lease, to, keep=whole or not last, stored=parts_among(stored), **values)
                delete_rows(taken)
                save_stored(stored)

        commit_stored(self.store, session, stored, commit)
        self.lease.forget(parts_among(stored))
        delete_fragments(self.store, taken)
        if session.bytes_stored > before:
            signals.chunk_stored.send_robust(UploadSession, session=session, size=session.bytes_stored - before)
