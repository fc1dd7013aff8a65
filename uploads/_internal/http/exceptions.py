"""Errors of requests and bodies, which only the HTTP layer raises."""

from __future__ import annotations

from uploads.exceptions import BodyInterrupted, UploadError


class NoFilePart(UploadError):
    code = "no_file_part"
    text = "The form has no file part: send the chunk as one file field."


class ChunkOfWidget(UploadError):
    code = "chunk_of_widget"
    text = (
        "This URL takes whole files, and the form carries one chunk of a file. Turn chunking off in the upload widget, "
        "or send the chunks to an upload session or by tus."
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
    text = "The body ended early: {received} bytes came, {declared} were declared. Send the chunk again."


class DigestMismatch(UploadError):
    code = "digest_mismatch"
    text = "The body is not what its {algorithm} digest says: it was damaged on the way. Send the chunk again."


class BodyTimeout(BodyInterrupted):
    code = "body_timeout"
    status = 408
    text = "The body came too slowly: {received} bytes so far. Send the chunk again."


class BodyHidden(UploadError):
    code = "length_required"
    status = 411
    text = "The web server passes no body without Content-Length: send Content-Length with the chunk."


class BodyConsumed(UploadError):
    """Sending it again does not help: the portal's operators have to."""

    code = "body_consumed"
    text = "The portal read the body before the upload could (middleware that reads request.POST or request.body?)."


class EncodingUnsupported(UploadError):
    code = "content_encoding_unsupported"
    status = 415
    text = "A chunk is sent as it is, without Content-Encoding: {encoding}."


class Unauthenticated(UploadError):
    code = "not_authenticated"
    status = 401
    text = "Authentication is required."


class PartChanged(UploadError):
    code = "part_changed"
    status = 409
    text = "Part {number} is not the one that was named: somebody sent another one since. Ask which parts are stored."


class FieldsTooLarge(UploadError):
    code = "fields_too_large"
    status = 413
    text = "The fields of the request may have at most {maximum} bytes."


class TooManyRequests(UploadError):
    """The chunk's body is not waited for; it is to be sent again when one of the others is done."""

    code = "too_many_requests"
    status = 429
    text = "At most {maximum} requests of a client are received at a time; send this one again."
    retry_after = 2
    passing = True


class LocationUnknown(UploadError):
    """Found out before a session is opened, so that none is left that nobody can send to."""

    code = "location_unknown"
    status = 500
    text = "The portal's URLs do not lead to the upload location: its operators have to include the door's URLs whole."


class DatabaseUnavailable(UploadError):
    code = "database_unavailable"
    status = 503
    text = "The database is not available at the moment; try again."
    retry_after = 5
    passing = True
