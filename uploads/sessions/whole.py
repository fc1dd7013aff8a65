"""Store a file that comes in one request, which says its size only by ending."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from uploads.exceptions import ChunkBeyondFile, FileTooLarge, LengthInconsistent
from uploads.models import State, UploadSession
from uploads.sessions.end import abort
from uploads.sessions.receive import receive
from uploads.sessions.rules import Chunk
from uploads.transfer.transactions import reconnect, verb

logger = logging.getLogger(__name__)


@verb
def receive_whole(create: Callable[[int | None], UploadSession], chunk: Chunk) -> UploadSession:
    """Store ``chunk``, all of a file, in the session that ``create`` opens for so many bytes at most, or None.

    Returns the session ``completed``, ``failed``, or ``completing`` if the store takes longer than a client waits.
    Raises what creating and receiving raise, and FileTooLarge; then no session stays open: nobody could go on.
    """
    session = create(chunk.at_most)
    try:
        session = receive(session, replace(chunk, is_last=True))
        if session.state == State.OPEN:
            raise LengthInconsistent(total=session.bytes_stored, known=session.file_size)
        return session
    except BaseException as error:
        give_up(session)
        if isinstance(error, ChunkBeyondFile) and chunk.total is None:
            raise FileTooLarge(maximum=session.file_size) from error
        raise


def give_up(session: UploadSession) -> None:
    """End the session if it is open, whatever this process believes: a transaction may have been rolled back."""
    try:
        reconnect()
        session.refresh_from_db()
        if session.state == State.OPEN:
            abort(session)
    except Exception:
        logger.warning("session %s: not aborted; it expires by itself", session.pk, exc_info=True)
