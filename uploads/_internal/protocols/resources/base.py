"""What the protocols that share these URLs say differently: the base class of their variants."""

from __future__ import annotations

from typing import ClassVar

from django.http import HttpRequest
from django.utils import timezone
from rest_framework.response import Response

from uploads._internal.protocols.resources import headers
from uploads._internal.protocols.resources.errors import ContentTypeUnsupported
from uploads._internal.sessions import Chunk, FileRequest, largest_ever
from uploads.exceptions import InvalidRequest, OffsetMismatch, UploadError
from uploads.models import PAST_SENDING, State, UploadSession


def limit(session: UploadSession | None = None, lifetime: str = "max-age") -> str:
    """Return Upload-Limit: what holds for any upload, or for this one, whose ``lifetime`` is called so."""
    bounds = {"max-size": largest_ever(), "min-size": 0}
    if session is not None:
        if not session.size_known:
            bounds["max-size"] = session.file_size
        left = session.expires_at - timezone.now()
        bounds[lifetime] = max(0, int(left.total_seconds()))
    return ", ".join(f"{name}={value}" for name, value in bounds.items())


class Variant:
    """The protocol variant of a request. Subclasses are protocols, and theirs are versions of these."""

    appended = 204
    """The status of the response to a chunk after which more is to come."""
    state_status = 204
    """The status of the response to HEAD."""
    of_errors: ClassVar[tuple[str, ...]] = ()
    """Headers of an upload's progress that errors have, too."""
    is_custom = True
    """Whether the request has headers that pages of other origins cannot send unless the portal lets them."""
    has_absolute_location = False
    completes_when_asked = False
    """Whether HEAD completes an upload that has all its bytes."""
    resumes_after_get = False
    """Whether a client may go on at the offset that GET tells."""
    ends_inconsistent = False
    """Whether an upload ends with a chunk that contradicts its length."""
    knows_interim = False
    """Whether the client understands 104 (Upload Resumption Supported)."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request

    @classmethod
    def discovery(cls) -> dict[str, str]:
        """Return the headers that announce the protocol."""
        return {}

    def number(self, header: str) -> int | None:
        """Return a header's number, None if it has none; raise InvalidRequest if it is no number."""
        return headers.number(self.request, header)

    def always(self) -> dict[str, str]:
        """Return the headers of every response."""
        return {}

    def require_sense(self) -> None:
        """Raise an UploadError for a request about an upload that has no meaning in the protocol."""

    def of_error(self, response: Response, error: UploadError) -> None:
        """Add protocol headers to an error response."""
        if isinstance(error, ContentTypeUnsupported):
            response["Accept-Patch"] = str(error.context["expected"])
        if isinstance(error, OffsetMismatch):
            expected, provided = error.context["expected"], error.context["offset"]
            response["Upload-Offset"] = str(expected)
            response.data |= {"expected-offset": expected, "provided-offset": provided}

    def progress(self, session: UploadSession) -> dict[str, str]:
        """Return the headers that tell how much of an upload is stored."""
        return {"Upload-Offset": str(session.bytes_stored)}

    def limit(self, session: UploadSession) -> str:
        """Return Upload-Limit for this upload."""
        return limit(session)

    def state(self, session: UploadSession) -> dict[str, str]:
        """Return the headers that describe an upload."""
        length = {"Upload-Length": str(session.file_size)} if session.size_known else {}
        return self.progress(session) | length

    def resumes(self, *, interim: bool) -> bool:
        """Tell whether the upload that the request begins can go on after it; ``interim`` if the client gets a 104."""
        return False

    def whole_size(self) -> int | None:
        """Return the size of a file that comes as a whole, if the request declares it beside its body's length."""
        return None

    def file(self) -> FileRequest:
        """Return what the request says of the file that it begins."""
        raise NotImplementedError

    def first_chunk(self) -> Chunk | None:
        """Return what comes of the file with the request that begins it, if anything does."""
        raise NotImplementedError

    def chunk(self, session: UploadSession) -> Chunk:
        """Return what the request appends."""
        raise NotImplementedError

    def offset(self, session: UploadSession) -> int:
        """Return where the request appends; raise OffsetMismatch if an upload that has all its bytes ends elsewhere."""
        start = self.number("Upload-Offset")
        if start is None:
            message = "Upload-Offset is missing."
            raise InvalidRequest(message)
        if session.state in PAST_SENDING and start != session.file_size:
            complete = session.state == State.COMPLETED
            raise OffsetMismatch(offset=start, expected=session.file_size, complete=complete)
        return start

    def is_final(self, session: UploadSession) -> bool:
        """Tell whether a stored chunk is answered with the file that the upload has become."""
        raise NotImplementedError
