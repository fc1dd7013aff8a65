"""Receive numbered chunks."""

from __future__ import annotations

from uploads import signals
from uploads._internal import parts
from uploads._internal.sessions.admission import check_bounds, check_open, check_range
from uploads._internal.sessions.numbered.attempt import Attempt
from uploads._internal.sessions.receive import explain_loss
from uploads._internal.sessions.rules import Chunk, Rules
from uploads._internal.stores import get_store
from uploads._internal.transfer.transactions import outside_transaction
from uploads.exceptions import SessionAborted, SessionExpired, UploadError, UploadGone
from uploads.models import Mode, UploadSession


class ChunkNumberInvalid(UploadError):
    code = "chunk_number_invalid"
    text = "The chunk number must be between 1 and {highest}."


def check_number(session: UploadSession, number: int, rules: Rules) -> None:
    """Raise ChunkNumberInvalid unless the file can have a chunk with this number."""
    highest = parts.highest_chunk(session.file_size, rules.least)
    if not session.size_known:
        highest = min(highest, parts.MAX_PARTS)
    if not 1 <= number <= highest:
        raise ChunkNumberInvalid(highest=highest)


@outside_transaction
def receive_numbered(session: UploadSession, chunk: Chunk, number: int) -> UploadSession:
    """Store chunk ``number`` (from 1) and return the session, which stays open.

    Raises an UploadError if nothing of the chunk was counted. The previous content of that number is kept then.
    """
    check_open(session, Mode.NUMBERED)
    check_number(session, number, chunk.rules)
    session.mode = Mode.NUMBERED  # The size of the file limits the chunk, not the number of missing bytes.
    check_range(session, chunk)
    check_bounds(session, chunk, chunk.at_most or 0, known=False)
    attempt = Attempt(session, get_store(session.storage), chunk, number)
    try:
        size = attempt.store_chunk()
    except (SessionAborted, SessionExpired, UploadGone):
        session.refresh_from_db()
        explain_loss(session, Mode.NUMBERED)
        raise
    signals.chunk_stored.send_robust(UploadSession, session=session, size=size)
    return session
