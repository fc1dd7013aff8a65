"""Receive a chunk and keep all bytes that arrive, even if the request is interrupted.

Parts are committed as they are stored, and the rest at the end. For protocols whose clients send a whole file in one
request, and query the offset after an interruption.
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
"""Minimum number of seconds between two commits in a request.

If the process is killed, the client has to resend this much. On a fast line, a commit for each part would take as long
as the parts.
"""


def receive_progressively(lease: Lease, store: Store, chunk: Chunk) -> None:
    """Store all bytes that arrive of ``chunk`` in the session that ``lease`` holds.

    Afterwards, the session is ``completing`` if it has all its bytes, and released otherwise.

    Raises the error that ended the body early, after the received bytes are committed. Raises LeaseLost if another
    request takes over the session.
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
        # Outside the block: a failing writer deletes its fragments, although a failed commit may have taken effect.
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
        """Commit what is stored; with the ``last`` commit, release the session unless ``whole``."""
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
