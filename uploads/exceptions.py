"""Reasons to refuse an upload, with a stable code, an HTTP status and a text.

The protocols render a raised error. Clients compare ``code``; the text is for people and may change.
"""

from __future__ import annotations

from typing import ClassVar

from django.template.defaultfilters import filesizeformat


class UploadError(Exception):
    """The base of all errors. A failed call leaves its session unchanged."""

    code: ClassVar[str] = "upload_error"
    status: ClassVar[int] = 400
    text: ClassVar[str] = "The upload request failed."
    retry_after: ClassVar[int | None] = None
    """Seconds until the same request may succeed, or None if it never will."""
    passing: ClassVar[bool] = False
    """True if the cause is temporary, so that tasks retry the interrupted work later."""

    def __init__(self, text: str = "", *, retry_after: int | None = None, **context: object) -> None:
        self.context = context
        self.wait = retry_after or self.retry_after  # The argument is more precise than the class attribute.
        super().__init__(text or self.text.format_map(context))


class BodyInterrupted(UploadError):
    """The body ended early. The received bytes count if the protocol keeps them."""


class InvalidRequest(UploadError):
    code = "invalid_request"
    text = "The request is malformed."


class InvalidName(UploadError):
    code = "invalid_name"
    text = "The file or folder name is invalid."


class EncryptionUnsupported(UploadError):
    code = "encryption_unsupported"
    text = "This portal's storage cannot encrypt files at rest; create the session without encryption."


class RelativePathUnsupported(UploadError):
    code = "relative_path_unsupported"
    text = "This portal does not create subfolders for uploads; upload without relativePath."


class LengthRequired(UploadError):
    code = "length_required"
    status = 411
    text = "Your storage space is limited: declare the file's size (Upload-Length, or Content-Length for a whole file)."


class LengthInconsistent(UploadError):
    code = "length_inconsistent"
    text = "The file cannot have {total} bytes: it has {known}."


class ChunkTooSmall(UploadError):
    code = "chunk_too_small"
    text = "The chunk has {size} bytes; all chunks but the last must have at least {minimum}."


class ChunkNotMultiple(UploadError):
    code = "chunk_not_multiple"
    text = "The chunk has {size} bytes; all chunks but the last must have a multiple of {multiple} bytes."


class ChunkBeyondFile(UploadError):
    code = "chunk_beyond_file"
    text = "The chunk exceeds the end of the file: {remaining} of {total} bytes are still missing."


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
    text = "Not found."


class SessionNotFound(UploadError):
    code = "session_not_found"
    status = 404
    text = "The upload session does not exist."


class OffsetMismatch(UploadError):
    code = "offset_mismatch"
    status = 409
    text = "The chunk starts at byte {offset}, but {expected} bytes are stored: continue at {expected}."


class ChunkAmbiguous(UploadError):
    """The chunk may duplicate the previous one. Storing it twice would damage the file."""

    code = "chunk_ambiguous"
    status = 409
    text = (
        "The chunk equals the previous one and may be a duplicate; {expected} bytes are stored. Continue at "
        "{expected}; if it is the next chunk, send it again with Content-Range or offset={expected}."
    )


class ModeConflict(UploadError):
    code = "mode_conflict"
    status = 409
    text = "The upload session receives {mode} chunks; ways of sending cannot be mixed."


class UploadIncomplete(UploadError):
    code = "upload_incomplete"
    status = 409
    text = "The file is incomplete: {stored} of {total} bytes are stored{missing}."


class SessionClosed(UploadError):
    code = "session_closed"
    status = 409
    text = "The upload session is {state}; it accepts no more chunks."


class ChunkSizeDiffers(UploadError):
    """A numbered chunk's offset follows from its number and the size of all chunks."""

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
    text = "The file's metadata has {size} bytes; the maximum is {maximum}."


class FileTooLarge(UploadError):
    code = "file_too_large"
    status = 413
    text = "The file is larger than {maximum} bytes, the maximum size of a file."


class ExtensionNotAllowed(UploadError):
    code = "extension_not_allowed"
    status = 403
    text = "Files of this type are not accepted. Accepted types: {allowed}."


class NotAccepted(UploadError):
    code = "not_accepted"
    status = 403
    text = "The portal does not accept this file: {reason}"


class TooManySessions(UploadError):
    code = "too_many_sessions"
    status = 429
    text = "You have {open} unfinished uploads; the maximum is {maximum}. Finish or abort one first."
    retry_after = 60


class QuotaExceeded(UploadError):
    code = "quota_exceeded"
    status = 403
    text = "The file has {size}, but you have only {free} left; {reserved} are reserved by unfinished uploads."

    def __init__(self, **sizes: int) -> None:
        super().__init__(self.text.format_map({name: filesizeformat(size) for name, size in sizes.items()}), **sizes)


class SessionBusy(UploadError):
    code = "session_busy"
    status = 423
    text = "Another request is writing to this upload session; try again shortly."
    retry_after = 2
    passing = True


class LeaseLost(SessionBusy):
    """The writer was too slow, and another one took over. Its bytes do not count."""

    text = "Another request took over this upload session; get its state and continue from there."


class CompletionFailed(UploadError):
    code = "completion_failed"
    status = 409
    text = "The file could not be completed: {reason}"


class FileRefused(UploadError):
    """Raised by ``Destination.check``. The file is not published; the same bytes are refused again."""

    code = "file_refused"
    status = 422
    text = "The file was checked and refused: {reason}"


class FileUncheckable(UploadError):
    """Raised by ``Destination.check`` if a file can never be checked: encrypted, or too large."""

    code = "file_uncheckable"
    status = 422
    text = "The file cannot be checked and is therefore not accepted: {reason}"


class CheckerUnavailable(UploadError):
    """Raised by ``Destination.check``. The file waits according to ``ON_CHECKER_AWAY``."""

    code = "checker_unavailable"
    status = 503
    text = "The file checker is not available at the moment."
    retry_after = 30
    passing = True


class StoreUnavailable(UploadError):
    """The operation failed, or its outcome is unknown. Nothing counts, so a retry is safe."""

    code = "storage_unavailable"
    status = 503
    text = "The storage is not available at the moment; send the chunk again."
    retry_after = 5
    passing = True

    def __init__(self, text: str = "", *, unknown: bool = True, **context: object) -> None:
        super().__init__(text, retry_after=None, **context)
        self.unknown = unknown
        """True if the store may have executed the operation, or may still do so."""


class StoreFull(StoreUnavailable):
    """The store has no space left. What is stored stays, so a client can resume later."""

    code = "storage_full"
    status = 507
    text = "The storage is full. The portal's operator must add space; then resume the upload."


class StoreRefused(UploadError):
    """The store refuses the operation permanently. The text has the store's own reason."""

    code = "storage_refused"
    status = 502
    text = "The storage refused the request: {reason}"


class TransactionOpen(UploadError):
    """The portal wraps requests in a transaction, so a response would precede the commit."""

    code = "transaction_open"
    status = 500
    text = (
        "The portal runs uploads inside a database transaction, so no bytes can be acknowledged: "
        "its operator must exempt the upload URLs (see uploads.W004 and the doctor)."
    )


class RowsIncomplete(UploadError):
    """The part rows do not cover the file. It is neither completed nor abandoned."""

    code = "rows_incomplete"
    status = 503
    text = "The database lacks parts of this upload at the moment: {reason}."
    retry_after = 30
    passing = True


class TooManyAttempts(UploadError):
    code = "too_many_attempts"
    status = 409
    text = "The file could not be completed in {attempts} attempts."


class UploadGone(UploadError):
    """The store no longer knows the multipart upload: it was aborted or completed elsewhere."""

    code = "upload_gone"
    status = 410
    text = "The storage no longer has this upload; create a new session."


class StoredObjectWrong(UploadError):
    """HEAD of the completed object contradicts the row, so it must not be published."""

    code = "stored_object_wrong"
    status = 409
    text = "The stored object differs from the upload: {reason}."


class NotEncrypted(StoredObjectWrong):
    """The plaintext is deleted from the store, so the client must send the file again."""

    text = "The stored object is not encrypted at rest as the session requires; it was deleted. Upload the file again."
