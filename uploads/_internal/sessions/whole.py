"""Store a file that comes in one request, which says its size only by ending."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

from uploads import names
from uploads._internal.sessions.create import FileRequest
from uploads._internal.sessions.end import abort
from uploads._internal.sessions.limits import check_file
from uploads._internal.sessions.receive import receive
from uploads._internal.sessions.rules import Chunk
from uploads._internal.transfer.transactions import outside_transaction, reconnect
from uploads.exceptions import ChunkBeyondFile, FileTooLarge, LeaseLost, LengthInconsistent
from uploads.models import State, UploadSession

logger = logging.getLogger(__name__)


@outside_transaction
def receive_whole(
    create: Callable[[int | None], UploadSession],
    chunk: Chunk,
    revised: Callable[[], FileRequest | None] = lambda: None,
) -> UploadSession:
    """Store ``chunk``, all of a file, in the session that ``create`` opens for so many bytes at most, or None.

    ``revised`` is called behind the last byte: what the client says of its file then, for forms whose fields follow
    the file. It is published under that name; the object in the store keeps the name that it has.

    Returns the session ``completed``, ``failed``, or ``completing`` if the store takes longer than a client waits.
    Raises what creating and receiving raise, and FileTooLarge; then no session stays open: nobody could go on.
    """
    said = revised()
    session = create(chunk.at_most)
    try:
        blocks = _with_revision(session, chunk, said, revised)
        session = receive(session, replace(chunk, is_last=True, blocks=blocks))
        if session.state == State.OPEN:
            raise LengthInconsistent(total=session.bytes_stored, known=session.file_size)
        return session
    except BaseException as error:
        give_up(session)
        if isinstance(error, ChunkBeyondFile) and chunk.total is None:
            raise FileTooLarge(maximum=session.file_size) from error
        raise


def _with_revision(
    session: UploadSession, chunk: Chunk, said: FileRequest | None, revised: Callable[[], FileRequest | None]
) -> Iterator[bytes]:
    """Yield the blocks of the chunk, and then take over what the client says of its file only now."""
    yield from chunk.blocks
    file = revised()
    if file is None or file == said:
        return
    session.file_name = names.clean(file.name, file.longest_title)
    check_file(session)
    if not session.change(file_name=session.file_name, create_new=file.create_new):
        raise LeaseLost


def give_up(session: UploadSession) -> None:
    """End the session if it is open, whatever this process believes: a transaction may have been rolled back."""
    try:
        reconnect()
        session.refresh_from_db()
        if session.state == State.OPEN:
            abort(session)
    except Exception:
        logger.warning("session %s: not aborted; it expires by itself", session.pk, exc_info=True)
