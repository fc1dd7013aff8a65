"""Store a file from one request, whose size is known only at its end."""

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
    """Store ``chunk``, a whole file, in the session that ``create`` opens.

    ``create`` is called with the maximum size of the file, or None. ``revised`` is called after the last byte. It
    returns the client's description of the file by then, for forms whose fields follow the file. The file is published
    under the name in it; the object in the store keeps its name.

    Returns the session ``completed``, ``failed``, or ``completing`` if the store takes longer than a client waits.
    Raises FileTooLarge and the errors of creating and receiving. No session stays open then, because no client could
    continue it.
    """
    declared = revised()
    session = create(chunk.at_most)
    try:
        blocks = _with_revision(session, chunk, declared, revised)
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
    session: UploadSession, chunk: Chunk, declared: FileRequest | None, revised: Callable[[], FileRequest | None]
) -> Iterator[bytes]:
    """Yield the blocks of the chunk, then apply the client's revised description of the file."""
    yield from chunk.blocks
    file = revised()
    if file is None or file == declared:
        return
    session.file_name = names.clean(file.name, file.longest_title)
    check_file(session)
    if not session.change(file_name=session.file_name, create_new=file.create_new):
        raise LeaseLost


def give_up(session: UploadSession) -> None:
    """Abort the session if it is open.

    The row is read again, because a transaction may have been rolled back.
    """
    try:
        reconnect()
        session.refresh_from_db()
        if session.state == State.OPEN:
            abort(session)
    except Exception:
        logger.warning("session %s: not aborted; it expires by itself", session.label, exc_info=True)
