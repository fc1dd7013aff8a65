"""Every way an upload can be refused: one row each, with a stable code, an HTTP status and a text.

Raise one; the protocols render it. Clients compare ``code``; the text is for people and may change.
"""

from __future__ import annotations

from typing import ClassVar


class UploadError(Exception):
    """Base of all errors; the session it concerns is as it was before the call."""

    code: ClassVar[str] = "upload_error"
    status: ClassVar[int] = 400
    text: ClassVar[str] = "The upload request could not be carried out."
    retry_after: ClassVar[int | None] = None
    """Seconds after which the same request may succeed, or None when it will not."""
    passing: ClassVar[bool] = False
    """Whether the cause passes by itself, so that work that met it is taken up again later."""

    def __init__(self, text: str = "", *, retry_after: int | None = None, **context: object) -> None:
        self.context = context
        self.wait = retry_after or self.retry_after
        """``retry_after``, if it is known better."""
        super().__init__(text or self.text.format_map(context))


class BodyInterrupted(UploadError):
    """The body ended early; what arrived is counted where the protocol keeps it."""


class InvalidRequest(UploadError):
    code = "invalid_request"
    text = "The request is malformed."


class InvalidName(UploadError):
    code = "invalid_name"
    text = "The file or folder name is not usable."


class EncryptionUnsupported(UploadError):
    code = "encryption_unsupported"
    text = "This portal's storage cannot encrypt files at rest; create the session without encryption."


class RelativePathUnsupported(UploadError):
    code = "relative_path_unsupported"
    text = "This portal does not create subfolders for uploads."


class LengthRequired(UploadError):
    code = "length_required"
    status = 411
    text = "Your space here is limited: say how large the file is (Content-Length with all of it, else Upload-Length)."


class LengthInconsistent(UploadError):
    code = "length_inconsistent"
    text = "The file cannot have {total} bytes: it has {known}."


class ChunkTooSmall(UploadError):
    code = "chunk_too_small"
    text = "A chunk that is not the last must have at least {minimum} bytes; this one has {size}."


class ChunkNotMultiple(UploadError):
    code = "chunk_not_multiple"
    text = "A chunk that is not the last must be a multiple of {multiple} bytes; this one has {size}."


class ChunkBeyondFile(UploadError):
    code = "chunk_beyond_file"
    text = "The chunk goes beyond the end of the file: of {total} bytes, {remaining} are still to come."


class ChunkNumberInvalid(UploadError):
    code = "chunk_number_invalid"
    text = "The chunk number must be between 1 and {highest}."


class ContentRangeInvalid(UploadError):
    code = "content_range_invalid"
    text = "The range {value!r} contradicts the chunk or the session: {reason}."


class EditUnsupported(UploadError):
    code = "edit_unsupported"
    status = 403
    text = "This portal does not replace the content of files."


class EmptyChunk(UploadError):
    code = "empty_chunk"
    text = "The chunk is empty."


class Forbidden(UploadError):
    code = "forbidden"
    status = 403
    text = "Access denied."


class FolderNotFound(UploadError):
    code = "folder_not_found"
    status = 404
    text = "The folder does not exist."


class FileNotFound(UploadError):
    code = "file_not_found"
    status = 404
    text = "The file does not exist."


class NotFound(UploadError):
    code = "not_found"
    status = 404
    text = "There is no such thing here."


class SessionNotFound(UploadError):
    code = "session_not_found"
    status = 404
    text = "The upload session does not exist."


class OffsetMismatch(UploadError):
    code = "offset_mismatch"
    status = 409
    text = "The chunk starts at byte {offset}, but {expected} bytes are stored: continue at {expected}."


class ChunkAmbiguous(UploadError):
    """The chunk may be a duplicate of the previous one; stored twice, it would damage the file."""

    code = "chunk_ambiguous"
    status = 409
    text = (
        "The chunk equals the previous one and may be the same, sent again; {expected} bytes are stored. Continue at "
        "{expected}; send the chunk again with Content-Range or offset={expected} if it is the next one."
    )


class ModeConflict(UploadError):
    code = "mode_conflict"
    status = 409
    text = "The upload session gets {mode} chunks; the two ways of sending do not mix."


class UploadIncomplete(UploadError):
    code = "upload_incomplete"
    status = 409
    text = "The file is not complete: {stored} of {total} bytes are stored{missing}."


class SessionClosed(UploadError):
    code = "session_closed"
    status = 409
    text = "The upload session is {state}; it accepts no more chunks."


class ChunkSizeDiffers(UploadError):
    """Where a numbered chunk begins follows from its number and the size of all chunks."""

    code = "chunk_size_differs"
    status = 409
    text = "Chunk {number} has {size} bytes; all numbered chunks but the last must have {expected}."


class SessionExpired(UploadError):
    code = "session_expired"
    status = 410
    text = "The upload session has expired; create a new one."


class SessionAborted(UploadError):
    code = "session_aborted"
    status = 410
    text = "The upload session was aborted; create a new one."


class ChunkTooLarge(UploadError):
    code = "chunk_too_large"
    status = 413
    text = "A chunk may have at most {maximum} bytes."


class MetadataTooLarge(UploadError):
    code = "metadata_too_large"
    status = 413
    text = "The metadata of a file have {size} bytes; at most {maximum} are kept."


class FileTooLarge(UploadError):
    code = "file_too_large"
    status = 413
    text = "The file is larger than {maximum} bytes, the most that can be stored here."


class ExtensionNotAllowed(UploadError):
    code = "extension_not_allowed"
    status = 403
    text = "Files of this type are not accepted here; accepted are {allowed}."


class NotAccepted(UploadError):
    """The portal's own rules."""

    code = "not_accepted"
    status = 403
    text = "The portal does not accept this file: {reason}"


class TooManySessions(UploadError):
    code = "too_many_sessions"
    status = 429
    text = "You have {open} unfinished uploads; at most {maximum} are possible. Finish or abort one first."
    retry_after = 60


class QuotaExceeded(UploadError):
    code = "quota_exceeded"
    status = 403
    text = "The file has {size} bytes, but you have only {free} left; {reserved} are reserved by unfinished uploads."


class SessionBusy(UploadError):
    code = "session_busy"
    status = 423
    text = "Another request is writing to this upload session; try again shortly."
    retry_after = 2
    passing = True


class LeaseLost(SessionBusy):
    """The writer was too slow and another one took over; what it wrote is not counted."""

    text = "Another request took this upload session over; ask for its state and continue there."


class CompletionFailed(UploadError):
    code = "completion_failed"
    status = 409
    text = "The file could not be completed: {reason}"


class FileRefused(UploadError):
    """``Destination.check`` raises it: nobody gets to see the file. The same bytes are refused again."""

    code = "file_refused"
    status = 422
    text = "The file was checked and is not accepted: {reason}"


class FileUncheckable(UploadError):
    """``Destination.check`` raises it where a file cannot be checked, now or later: it is encrypted, or too large."""

    code = "file_uncheckable"
    status = 422
    text = "The file cannot be checked, and so is not accepted: {reason}"


class CheckerUnavailable(UploadError):
    """``Destination.check`` raises it: the file waits, as ``ON_CHECKER_AWAY`` says."""

    code = "checker_unavailable"
    status = 503
    text = "What checks files is not available at the moment."
    retry_after = 30
    passing = True


class StoreUnavailable(UploadError):
    """The store did not do it, or did not say whether it did; nothing is counted, so a retry is safe."""

    code = "storage_unavailable"
    status = 503
    text = "The storage is not available at the moment; send the chunk again."
    retry_after = 5
    passing = True

    def __init__(self, text: str = "", *, unknown: bool = True, **context: object) -> None:
        super().__init__(text, retry_after=None, **context)
        self.unknown = unknown
        """Whether the store may have done it, or still do it."""


class StoreRefused(UploadError):
    """The store will not have it, now or later; its own reason is kept for people."""

    code = "storage_refused"
    status = 502
    text = "The storage refused this: {reason}"


class TransactionOpen(UploadError):
    """The host wraps requests in a transaction: what is answered would not be committed yet."""

    code = "transaction_open"
    status = 500
    text = (
        "The portal runs uploads inside a database transaction, so nothing could be acknowledged: "
        "its operators have to exempt them (see uploads.W004 and the doctor)."
    )


class RowsIncomplete(UploadError):
    """The rows of the parts do not make up the file: nothing is completed of them, and nothing is given up."""

    code = "rows_incomplete"
    status = 503
    text = "The database does not know all parts of this upload at the moment: {reason}."
    retry_after = 30
    passing = True


class TooManyAttempts(UploadError):
    code = "too_many_attempts"
    status = 409
    text = "Completing the file was begun {attempts} times and never came to an end."


class OutOfMemory(UploadError):
    code = "server_busy"
    status = 503
    text = "Too many uploads are being received at the moment; send the chunk again."
    retry_after = 5
    passing = True


class UploadGone(UploadError):
    """The store no longer knows the multipart upload: it was aborted or completed outside."""

    code = "upload_gone"
    status = 410
    text = "The storage no longer has this upload; create a new session."


class StoredObjectWrong(UploadError):
    """HEAD of the completed object contradicts the row: it must not be published."""

    code = "stored_object_wrong"
    status = 409
    text = "The stored object is not what was uploaded: {reason}."


class NotEncrypted(StoredObjectWrong):
    """The plaintext does not stay in the store: only sending the file anew helps."""

    text = "The stored object is not encrypted at rest as the session demands; it was deleted."
