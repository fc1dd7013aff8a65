"""Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload): the future standard and its drafts.

The class of the standard is first. Each draft overrides its differences from the next newer one.
"""

from __future__ import annotations

from rest_framework.response import Response

from uploads._internal.http import metadata
from uploads._internal.http.body import read_blocks, require_identity
from uploads._internal.http.deadline import declared_length
from uploads._internal.http.digests import Digests
from uploads._internal.http.multipart import content_type, is_form
from uploads._internal.http.requests import body_options, content_disposition_name, read_query
from uploads._internal.protocols.resources import conf, headers
from uploads._internal.protocols.resources.base import Variant, limit
from uploads._internal.protocols.resources.conf import TUS_BYTES
from uploads._internal.protocols.resources.errors import ContentTypeUnsupported
from uploads._internal.sessions import Chunk, FileRequest
from uploads.exceptions import (
    CompletionFailed,
    FileRefused,
    FileTooLarge,
    FileUncheckable,
    InvalidRequest,
    LengthInconsistent,
    OffsetMismatch,
    UploadError,
)
from uploads.models import PAST_SENDING, State, UploadSession

BYTES = "application/partial-upload"
"""Content type of a chunk."""


class Resumable(Variant):
    """The standard, which has no interop version. Unknown versions are treated like it."""

    protocol = "resumable"
    version: int | None = None
    """Interop version of the draft."""
    flag = "Upload-Complete"
    is_negated = False
    """True if the flag means the opposite of "complete"."""
    lifetime = "max-age"
    """Name of an upload's remaining lifetime in Upload-Limit."""
    has_absolute_location = True
    resumes_after_get = True
    ends_inconsistent = True

    @classmethod
    def discovery(cls) -> dict[str, str]:
        return {"Accept-Patch": BYTES, "Upload-Limit": limit()}

    def number(self, header: str) -> int | None:
        return headers.integer(self.request, header)

    @property
    def knows_interim(self) -> bool:  # type: ignore[override]
        return self.version is not None

    @property
    def says_complete(self) -> bool | None:
        """Return whether the file ends with this request; None without a valid flag."""
        name, negated = self.flag, self.is_negated
        if name not in self.request.headers and "Upload-Incomplete" in self.request.headers:
            name, negated = "Upload-Incomplete", True
        value = headers.boolean(self.request, name)
        return None if value is None else value != negated

    @property
    def is_complete(self) -> bool:
        """Return whether the file ends with this request; raise InvalidRequest without a valid flag."""
        complete = self.says_complete
        if complete is None:
            message = f"{self.flag} must be ?1 or ?0."
            raise InvalidRequest(message)
        return complete

    def is_file(self, session: UploadSession) -> bool:
        """Return whether the upload counts as complete, which it does when its file exists."""
        return session.state == State.COMPLETED

    def limit(self, session: UploadSession) -> str:
        return limit(session, self.lifetime)

    def always(self) -> dict[str, str]:
        return {} if self.version is None else {"Upload-Draft-Interop-Version": str(self.version)}

    def of_error(self, response: Response, error: UploadError) -> None:
        super().of_error(response, error)
        if isinstance(error, OffsetMismatch):
            response[self.flag] = self._flag(complete=self.is_complete_at(error))
        processed = isinstance(error, CompletionFailed | FileRefused | FileUncheckable)
        if processed and self.request.method != "HEAD" and self.is_complete:
            response[self.flag] = self._flag(complete=True)  # All bytes arrived; the completion failed.
        if isinstance(error, FileTooLarge):
            response["Upload-Limit"] = limit()

    def is_complete_at(self, error: OffsetMismatch) -> bool:
        """Return the completeness to report for a wrong offset.

        The refused request itself did not complete the upload.
        """
        return False

    def progress(self, session: UploadSession) -> dict[str, str]:
        flag = {self.flag: self._flag(complete=self.is_file(session)), "Upload-Limit": self.limit(session)}
        return super().progress(session) | flag

    def _flag(self, *, complete: bool) -> str:
        return "?1" if complete != self.is_negated else "?0"

    def resumes(self, *, interim: bool) -> bool:
        return not self.is_complete or (interim and not is_form(self.request))

    def whole_size(self) -> int | None:
        return None if is_form(self.request) else self.length()

    def file(self) -> FileRequest:
        kind = metadata.content_type(self.request.headers.get("Content-Type", ""))
        if kind in (BYTES, TUS_BYTES):
            kind = ""
        if self.number("Upload-Offset"):
            message = "A file begins at offset 0."
            raise InvalidRequest(message)
        query = read_query(self.request)
        name = query.get("name") or query.get("filename") or content_disposition_name(self.request)
        name = metadata.named(name, kind)
        return FileRequest(name=name, size=self.length(0), content_type=kind, rules=conf.KEEPING)

    def length(self, start: int = 0) -> int | None:
        """Return the file's size that the request declares or implies.

        Raises LengthInconsistent if the two differ.
        """
        declared, body = self.number("Upload-Length"), declared_length(self.request)
        if not self.is_complete or body is None:
            return declared
        if declared is not None and declared != start + body:
            raise LengthInconsistent(total=start + body, known=declared)
        return start + body

    def first_chunk(self) -> Chunk | None:
        return self._chunk(0) if self.is_complete or declared_length(self.request) != 0 else None

    def require_type(self) -> None:
        """Raise ContentTypeUnsupported unless the request has the content type of a chunk."""
        if content_type(self.request)[0] != BYTES:
            raise ContentTypeUnsupported(expected=BYTES)

    def chunk(self, session: UploadSession) -> Chunk:
        self.require_type()
        start = self.offset(session)
        if session.state in PAST_SENDING and (declared_length(self.request) or not self.is_complete):
            raise LengthInconsistent(total="more", known=session.file_size)
        return self._chunk(start)

    def _chunk(self, start: int) -> Chunk:
        require_identity(self.request)
        digests = Digests(self.request)
        return Chunk(
            read_blocks(self.request, digests=digests),
            start=start,
            total=self.length(start),
            is_last=self.is_complete,
            rules=conf.WHOLE if digests else conf.KEEPING,
            **body_options(self.request),
        )

    def is_final(self, session: UploadSession) -> bool:
        if self.is_complete and session.state == State.OPEN:
            raise LengthInconsistent(total=session.bytes_stored, known=session.file_size)
        return self.is_complete


class Version10(Resumable):
    version = 10


class Version9(Version10):
    version = 9


class Version8(Version9):
    """An upload counts as complete when all its bytes are stored."""

    version = 8

    def is_file(self, session: UploadSession) -> bool:
        return super().is_file(session) or session.is_finishing


class Version7(Version8):
    version = 7


class Version6(Version7):
    """A PATCH without the flag is the last one; HEAD and DELETE reject chunk headers.

    A chunk before the last is answered with 201, an ended upload with 404. Errors report the offset.
    """

    version = 6
    lifetime = "expires"
    appended = 201
    of_errors = ("Upload-Offset",)

    @property
    def is_complete(self) -> bool:
        if self.says_complete is None and self.request.method == "PATCH":
            return True
        return super().is_complete

    def require_sense(self) -> None:
        sent = {"Upload-Complete", "Upload-Incomplete", "Upload-Offset", "Upload-Length"} & {*self.request.headers}
        if self.request.method in ("HEAD", "DELETE") and sent:
            message = f"{self.request.method} has no {min(sent)}."
            raise InvalidRequest(message)

    def is_complete_at(self, error: OffsetMismatch) -> bool:
        return bool(error.context.get("complete"))

    def of_error(self, response: Response, error: UploadError) -> None:
        super().of_error(response, error)
        if response.status_code == 410:
            response.status_code = response.data["status"] = 404


class Version5(Version6):
    """Chunks have no content type of their own."""

    version = 5

    def require_type(self) -> None:
        return


class Version4(Version5):
    version = 4


class Version3(Version4):
    """The flag has the opposite meaning."""

    version = 3
    flag = "Upload-Incomplete"
    is_negated = True


DRAFTS = (Version10, Version9, Version8, Version7, Version6, Version5, Version4, Version3)
"""Drafts -01 to -13, newest first."""
