"""Receive a chunk of which all that arrives stays: parts are committed as they land, and what is left at the end.

For doors whose clients send a whole file in one request, and ask how much of it came when that was interrupted.
"""

from __future__ import annotations

import time
from typing import Any

from django.utils import timezone

from uploads import conf, signals
from uploads.exceptions import BodyTimeout, ChunkTooLarge, IncompleteBody, LeaseLost
from uploads.models import Mode, State, UploadPart, UploadSession
from uploads.sessions.admission import beyond, is_whole, listen
from uploads.sessions.rules import Chunk
from uploads.sessions.states import move_held
from uploads.stores.base import Store
from uploads.transfer.lease import Lease
from uploads.transfer.transactions import durable
from uploads.transfer.writer import PartWriter, commit_parts, delete_quietly

INTERRUPTIONS = (IncompleteBody, BodyTimeout)
COMMIT_EVERY = 0.25
"""Seconds between two commits inside a request, at least: so much of it has to come again if its process is killed. A
commit for each part of a fast line would take as long as the parts."""


def receive_progressively(lease: Lease, store: Store, chunk: Chunk) -> None:
    """Store what comes of ``chunk`` in the session that ``lease`` holds; it is let go of, or ``completing``, then.

    Raises what ended the body too early, after what came is committed; LeaseLost if somebody else asked for the
    session and gets it.
    """
    _Progress(lease, store, chunk).run()


class _Progress:
    def __init__(self, lease: Lease, store: Store, chunk: Chunk) -> None:
        self.lease, self.session, self.store, self.chunk = lease, lease.session, store, chunk
        self.start = self.session.bytes_stored
        self.received = 0
        self.committed = time.monotonic()
        self.tail = list(self.session.parts.filter(number=None)) if self.session.tail_size else []
        """Pieces at the end of what is stored, which the next part takes in."""

    def run(self) -> None:
        ended: Exception | None = None
        with self._writer() as writer:
            try:
                for block in listen(self.lease, self.chunk):
                    self._count(len(block))
                    writer.write(block)
                    if time.monotonic() - self.committed > COMMIT_EVERY:
                        self._commit(writer.take_stored())
            except INTERRUPTIONS as error:
                ended = error
            except LeaseLost as error:
                if self.lease.lost or not self.lease.wanted:
                    raise
                ended = error
            if ended is None and self.chunk.is_last and not self.session.size_known:
                self.session.file_size, self.session.size_known = self.start + self.received, True
            whole = is_whole(self.session, self.start + self.received)
            parts = writer.finish(last=whole)
        # Not inside: a writer that fails deletes its pieces, and nobody knows yet whether a row names them.
        self._commit(parts, last=True, whole=whole)
        if ended is not None:
            raise ended

    def _writer(self) -> PartWriter:
        return PartWriter(
            self.lease.threads,
            self.lease.numbers,
            self.session,
            self.store,
            offset=self.start,
            expected=self.chunk.at_most,
            before=self.tail,
        )

    def _count(self, size: int) -> None:
        session, most = self.session, self.chunk.rules.most
        self.received += size
        if self.start + self.received > session.file_size:
            raise beyond(session, session.file_size - self.start)
        if most is not None and self.received > most:
            raise ChunkTooLarge(maximum=most)

    def _commit(self, parts: list[UploadPart], *, last: bool = False, whole: bool = False) -> None:
        """Commit parts that are stored; with the ``last`` of the request the session is let go of unless ``whole``."""
        session = self.session
        if not (parts or last):
            return
        self.committed = time.monotonic()
        numbers = [part.number for part in parts if part.number]
        here = [part.number for part in parts if part.number and part.segment == session.segment]
        taken_in = self.tail if numbers else []
        before = session.bytes_stored
        values: dict[str, Any] = {
            "mode": Mode.SEQUENTIAL,
            "attempts": int(whole),
            "file_size": session.file_size,
            "size_known": session.size_known,
            "bytes_stored": parts[-1].offset + parts[-1].size if parts else before,
            "tail_size": sum(part.size for part in parts if part.number is None) + session.tail_size * (not taken_in),
            "committed_number": max(here, default=session.committed_number),
            "expires_at": timezone.now() + conf.current().SESSION_LIFETIME,
            "last_chunk": {},
        }

        def commit() -> None:
            with durable():
                to = State.COMPLETING if whole else State.OPEN
                move_held(self.lease, to, keep=whole or not last, **values)
                if taken_in:
                    session.parts.filter(pk__in=[piece.pk for piece in taken_in]).delete()
                UploadPart.objects.bulk_create(parts)

        commit_parts(self.store, session, parts, commit)
        if taken_in:
            delete_quietly(self.store, [piece.piece for piece in taken_in])
            self.tail = []
        if session.bytes_stored > before:
            signals.chunk_stored.send_robust(UploadSession, session=session, size=session.bytes_stored - before)
