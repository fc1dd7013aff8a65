"""Errors of requests and bodies, which only the HTTP layer raises."""

from __future__ import annotations

from uploads.exceptions import BodyInterrupted, UploadError


class NoFilePart(UploadError):
    code = "no_file_part"
    text = "The form has no file part: send the chunk as one file field."


class ChunkOfWidget(UploadError):
    code = "chunk_of_widget"
    text = (
        "This URL takes whole files, but the form has one chunk of a file. Turn off chunking in the upload widget, "
        "or send the chunks to an upload session or with tus."
    )


class NoBoundary(UploadError):
    code = "no_boundary"
    text = (
        "The Content-Type multipart/form-data has no boundary. "
        "Let the HTTP library set Content-Type, or send the chunk as a raw body."
    )


class MalformedForm(UploadError):
    code = "malformed_form"
    text = "The multipart/form-data body is malformed: {reason}."


class IncompleteBody(BodyInterrupted):
    code = "incomplete_body"
    text = "The body ended early: {received} of {declared} declared bytes arrived. Send the chunk again."


class DigestMismatch(UploadError):
    code = "digest_mismatch"
    text = "The body does not match its {algorithm} digest: it was damaged in transit. Send the chunk again."


class BodyTimeout(BodyInterrupted):
    code = "body_timeout"
    status = 408
    text = "The body arrived too slowly: {received} bytes so far. Send the chunk again."


class BodyHidden(UploadError):
    code = "length_required"
    status = 411
    text = "The web server does not forward a body without Content-Length: send Content-Length with the chunk."


class BodyConsumed(UploadError):
    """Sending the request again does not help: the portal's operators must fix the cause."""

    code = "body_consumed"
    text = (
        "The portal read the body before the upload code, perhaps in middleware that uses request.POST or "
        "request.body: its operator must exempt the upload URLs."
    )


class EncodingUnsupported(UploadError):
    code = "content_encoding_unsupported"
    status = 415
    text = "Content-Encoding {encoding} is not supported: send the chunk without it."


class Unauthenticated(UploadError):
    code = "not_authenticated"
    status = 401
    text = "Authentication is required."


class PartChanged(UploadError):
    code = "part_changed"
    status = 409
    text = "Part {number} was replaced by a later request. List the stored parts again."


class FieldsTooLarge(UploadError):
    code = "fields_too_large"
    status = 413
    text = "The fields of the request may have at most {maximum} bytes."


class TooManyRequests(UploadError):
    """The body is not read. The client sends the chunk again when another request is done."""

    code = "too_many_requests"
    status = 429
    text = "At most {maximum} requests per client are received at a time; send this one again."
    retry_after = 2
    passing = True


class LocationUnknown(UploadError):
    """Raised before a session is opened, so that no session without a location remains."""

    code = "location_unknown"
    status = 500
    text = "The portal's URLconf lacks the upload location: its operator must include all URLs of the protocol."


class DatabaseUnavailable(UploadError):
    code = "database_unavailable"
    status = 503
    text = "The database is not available at the moment; try again."
    retry_after = 5
    passing = True
