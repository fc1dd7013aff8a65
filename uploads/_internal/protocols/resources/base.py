"""The base class of the protocol variants that share these URLs."""

from __future__ import annotations

from typing import ClassVar

from django.http import HttpRequest
from django.utils import timezone
from rest_framework.response import Response

from uploads._internal.protocols.resources import headers
from uploads._internal.protocols.resources.errors import ContentTypeUnsupported
from uploads._internal.sessions import Chunk, FileRequest, max_file_size
from uploads.exceptions import InvalidRequest, OffsetMismatch, UploadError
from uploads.models import PAST_SENDING, State, UploadSession


def limit(session: UploadSession | None = None, lifetime: str = "max-age") -> str:
    """Return Upload-Limit for any upload, or for ``session``; ``lifetime`` names its remaining lifetime."""
    bounds = {"max-size": max_file_size(), "min-size": 0}
    if session is not None:
        if not session.size_known:
            bounds["max-size"] = session.file_size
        left = session.expires_at - timezone.now()
        bounds[lifetime] = max(0, int(left.total_seconds()))
    return ", ".join(f"{name}={value}" for name, value in bounds.items())


class Variant:
    """The protocol variant of a request.

    Subclasses are protocols, and their subclasses are versions of the protocol.
    """

    protocol: ClassVar[str]
    """The name of the protocol, for signals."""
    appended = 204
    """Status of the response to a chunk before the last."""
    state_status = 204
    """Status of the response to HEAD."""
    of_errors: ClassVar[tuple[str, ...]] = ()
    """Progress headers of an upload that errors have, too."""
    is_custom = True
    """True if the request has headers that other origins cannot send without the portal's permission."""
    has_absolute_location = False
    completes_when_asked = False
    """True if HEAD completes an upload that has all its bytes."""
    resumes_after_get = False
    """True if a client may resume at the offset that GET returns."""
    ends_inconsistent = False
    """True if a chunk that contradicts the upload's length ends the upload."""
    knows_interim = False
    """True if the client understands 104 (Upload Resumption Supported)."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request

    @classmethod
    def discovery(cls) -> dict[str, str]:
        """Return the headers that announce the protocol."""
        return {}

    def number(self, header: str) -> int | None:
        """Return a header's number, None without one; raise InvalidRequest if it is malformed."""
        return headers.number(self.request, header)

    def always(self) -> dict[str, str]:
        """Return the headers of every response."""
        return {}

    def require_sense(self) -> None:
        """Raise an UploadError if the request is invalid in the protocol for an existing upload."""

    def of_error(self, response: Response, error: UploadError) -> None:
        """Add protocol headers to an error response."""
        if isinstance(error, ContentTypeUnsupported):
            response["Accept-Patch"] = str(error.context["expected"])
        if isinstance(error, OffsetMismatch):
            expected, provided = error.context["expected"], error.context["offset"]
            response["Upload-Offset"] = str(expected)
            response.data |= {"expected-offset": expected, "provided-offset": provided}

    def progress(self, session: UploadSession) -> dict[str, str]:
        """Return the headers that report the stored size of an upload."""
        return {"Upload-Offset": str(session.bytes_stored)}

    def limit(self, session: UploadSession) -> str:
        """Return Upload-Limit for this upload."""
        return limit(session)

    def state(self, session: UploadSession) -> dict[str, str]:
        """Return the headers that describe an upload."""
        length = {"Upload-Length": str(session.file_size)} if session.size_known else {}
        return self.progress(session) | length

    def resumes(self, *, interim: bool) -> bool:
        """Return whether the client can resume the upload that the request begins.

        ``interim`` is True if the client gets a 104.
        """
        return False

    def whole_size(self) -> int | None:
        """Return the size that the request declares for a whole file, besides its body's length."""
        return None

    def file(self) -> FileRequest:
        """Return the file that the request begins."""
        raise NotImplementedError

    def first_chunk(self) -> Chunk | None:
        """Return the chunk in the request that begins the file, or None."""
        raise NotImplementedError

    def chunk(self, session: UploadSession) -> Chunk:
        """Return the chunk that the request appends."""
        raise NotImplementedError

    def offset(self, session: UploadSession) -> int:
        """Return the offset at which the request appends; raise InvalidRequest if it is missing.

        Raises OffsetMismatch if the upload has all its bytes and ends at another offset.
        """
        start = self.number("Upload-Offset")
        if start is None:
            message = "Upload-Offset is missing."
            raise InvalidRequest(message)
        if session.state in PAST_SENDING and start != session.file_size:
            complete = session.state == State.COMPLETED
            raise OffsetMismatch(offset=start, expected=session.file_size, complete=complete)
        return start

    def is_final(self, session: UploadSession) -> bool:
        """Return whether the response to a stored chunk is the completed file."""
        raise NotImplementedError
