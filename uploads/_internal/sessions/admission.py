"""Conditions of receiving a chunk in any mode, tested before and while bytes arrive."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from uploads._internal.sessions.rules import Chunk
from uploads._internal.transfer.writer import FRAMING
from uploads.exceptions import (
    ChunkBeyondFile,
    ChunkTooLarge,
    CompletionFailed,
    ContentRangeInvalid,
    FileRefused,
    FileTooLarge,
    FileUncheckable,
    LengthInconsistent,
    ModeConflict,
    SessionAborted,
    SessionClosed,
    SessionExpired,
    UploadError,
)
from uploads.models import CheckResult, Mode, PendingFile, State, UploadSession


def require_live(session: UploadSession) -> UploadSession:
    """Return the session; raise SessionAborted or SessionExpired if that is its state."""
    if session.state == State.ABORTED:
        raise SessionAborted
    if session.state == State.EXPIRED or (session.state == State.OPEN and session.expires_at <= timezone.now()):
        raise SessionExpired
    if session.is_partial and session.state == State.COMPLETED and not _has_bytes(session):
        raise SessionExpired
    return session


def _has_bytes(partial: UploadSession) -> bool:
    """Return whether a completed partial upload waits for its file, or belongs to one that still exists."""
    if partial.file_id == partial.pk.hex:
        return not partial.file_size or PendingFile.objects.filter(session=partial, given_up=False).exists()
    ended = [State.ABORTED, State.EXPIRED]
    return UploadSession.objects.filter(pk=UUID(hex=partial.file_id)).exclude(state__in=ended).exists()


def require_no_failure(session: UploadSession) -> None:
    """Raise an error if the session failed: the check's own, or CompletionFailed."""
    if session.state == State.FAILED:
        if session.check_result == CheckResult.REFUSED:
            raise FileRefused(session.failure)
        if session.check_result == CheckResult.UNCHECKABLE:
            raise FileUncheckable(session.failure)
        raise CompletionFailed(reason=session.failure)


def check_open(session: UploadSession, mode: Mode) -> None:
    """Raise an error if ``session`` accepts no chunk sent in this mode."""
    require_live(session)
    require_no_failure(session)
    if session.state != State.OPEN:
        raise SessionClosed(state=session.get_state_display())
    if session.mode not in (Mode.UNDECIDED, mode):
        raise ModeConflict(mode=session.get_mode_display())


def check_bounds(session: UploadSession, chunk: Chunk, size: int, *, known: bool = True) -> None:
    """Refuse a chunk that has grown too large.

    ``known`` is False if ``size`` is an upper bound, which may exceed the maximum because of framing.
    """
    maximum = chunk.rules.most
    slack = 0 if known else FRAMING
    if maximum is not None and size > maximum + slack:
        raise ChunkTooLarge(maximum=maximum)
    remaining = session.file_size - (0 if session.mode == Mode.NUMBERED else session.bytes_stored)
    # A duplicate of the last chunk need not fit; it is recognized when it has been read.
    again = session.last_chunk.get("size", 0) if chunk.fingerprint and chunk.starts_at is None else 0
    if size > max(remaining, again) + slack:
        raise size_error(session, remaining)


def check_range(session: UploadSession, chunk: Chunk, size: int | None = None) -> None:
    """Refuse a chunk whose range contradicts the session, or the chunk's ``size`` if known."""
    given = chunk.range
    if given is None:
        return
    if session.size_known and given.total not in (None, session.file_size):
        reason = f"the file has {session.file_size} bytes"
    elif given.last >= session.file_size:
        reason = f"the last byte of the file is {session.file_size - 1}"
    elif size not in (None, given.last - given.first + 1):
        reason = f"the chunk has {size} bytes"
    else:
        return
    value = f"bytes {given.first}-{given.last}/{given.total if given.total is not None else '*'}"
    raise ContentRangeInvalid(value=value, reason=reason)


def size_error(session: UploadSession, remaining: int) -> UploadError:
    """Return the error for bytes that do not fit into the file.

    ``remaining`` is the number of bytes that the file still lacks.
    """
    if session.size_known:
        return ChunkBeyondFile(remaining=remaining, total=session.file_size)
    text = (
        f"The file is larger than {session.file_size} bytes, the most for one whose size is not declared: declare it."
    )
    return FileTooLarge(text, maximum=session.file_size)


def take_length(session: UploadSession, chunk: Chunk) -> None:
    """Set the file's size if the client declares it only now.

    Raises LengthInconsistent or FileTooLarge.
    """
    total = chunk.range.total if chunk.range and chunk.total is None else chunk.total
    if total is None or (session.size_known and total == session.file_size):
        return
    if session.size_known or total < session.bytes_stored:
        raise LengthInconsistent(
            total=total, known=session.file_size if session.size_known else f"at least {session.bytes_stored}"
        )
    if total > session.file_size and session.plan:
        raise size_error(session, 0)
    if total > session.file_size:
        raise FileTooLarge(maximum=session.file_size)
    session.file_size, session.size_known = total, True


def is_whole(session: UploadSession, stored: int) -> bool:
    """Return whether ``stored`` bytes are the whole file."""
    return session.size_known and stored == session.file_size
