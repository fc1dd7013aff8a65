"""Errors that only these protocols raise, and the problem types of the standard."""

from __future__ import annotations

from uploads.exceptions import ChunkBeyondFile, LengthInconsistent, OffsetMismatch, UploadError

TYPES = {
    OffsetMismatch: "https://iana.org/assignments/http-problem-types#mismatching-upload-offset",
    ChunkBeyondFile: "https://iana.org/assignments/http-problem-types#inconsistent-upload-length",
    LengthInconsistent: "https://iana.org/assignments/http-problem-types#inconsistent-upload-length",
}
"""Problem types that the standard names."""


class VersionUnsupported(UploadError):
    code = "version_unsupported"
    status = 412
    text = "This server speaks tus 1.0.0: send it in Tus-Resumable."


class UploadConcatenated(UploadError):
    code = "upload_concatenated"
    status = 403
    text = "The upload consists of partial uploads, and takes no bytes."


class ContentTypeUnsupported(UploadError):
    code = "content_type_unsupported"
    status = 415
    text = "Send the bytes of a file as {expected}."
