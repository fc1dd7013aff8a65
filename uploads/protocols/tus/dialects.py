"""How the two protocols of this door say the same things."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from django.http import HttpRequest
from django.utils import timezone
from rest_framework.response import Response

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
from uploads.http import metadata
from uploads.http.body import declared_length, read_blocks, require_identity
from uploads.http.digests import Digests, decode
from uploads.http.forms import content_type
from uploads.http.requests import circumstances, disposed_name, read_query
from uploads.models import PAST_SENDING, State, UploadSession
from uploads.protocols.tus import conf, headers
from uploads.protocols.tus.errors import ConcatenationUnsupported, ContentTypeUnsupported, VersionUnsupported
from uploads.protocols.tus.metadata import as_text, parse, written
from uploads.sessions import Chunk, FileRequest, largest_ever

TUS_BYTES = "application/offset+octet-stream"
"""What tus calls a chunk."""
CHECKSUMS = {"sha1": "sha1", "md5": "md5", "sha256": "sha256", "sha-256": "sha256"}
"""Algorithms of Upload-Checksum, and what hashlib calls them."""
CHECKSUM_MISMATCH = 460
"""The status that tus 1.0 has for a chunk that is not what its client hashed."""


def limit(session: UploadSession | None = None, lifetime: str = "max-age") -> str:
    """Return Upload-Limit: what holds for any upload, or for this one, whose ``lifetime`` is called so."""
    bounds = {"max-size": largest_ever(), "min-size": 0}
    if session is not None:
        if not session.size_known:
            bounds["max-size"] = session.file_size
        left = session.expires_at - timezone.now()
        bounds[lifetime] = max(0, int(left.total_seconds()))
    return ", ".join(f"{name}={value}" for name, value in bounds.items())


class Dialect:
    """What a request is spoken in; one that says nothing of either protocol carries a file as a whole."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request

    def number(self, header: str) -> int | None:
        """Return a header's number, None if it has none; raises InvalidRequest for what is none."""
        return headers.number(self.request, header)

    def always(self) -> dict[str, str]:
        """Return the headers of every answer."""
        return {}

    def require_sense(self) -> None:
        """Raise InvalidRequest for a request that says what has no meaning in it."""

    def of_error(self, response: Response, error: UploadError) -> None:
        """Say of an error what its body does not."""
        if isinstance(error, ContentTypeUnsupported):
            response["Accept-Patch"] = str(error.context["expected"])
        if isinstance(error, OffsetMismatch):
            expected, provided = error.context["expected"], error.context["offset"]
            response["Upload-Offset"] = str(expected)
            response.data |= {"expected-offset": expected, "provided-offset": provided}

    def progress(self, session: UploadSession) -> dict[str, str]:
        """Return the headers that say how far an upload is."""
        return {"Upload-Offset": str(session.bytes_stored)}

    def limit(self, session: UploadSession) -> str:
        """Return Upload-Limit for this upload."""
        return limit(session)

    of_errors: tuple[str, ...] = ()
    """What errors say, too, of an upload that can go on."""

    def state(self, session: UploadSession) -> dict[str, str]:
        """Return the headers that answer who asks how far an upload is."""
        length = {"Upload-Length": str(session.file_size)} if session.size_known else {}
        return self.progress(session) | length

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

    appended = 204
    """The status that answers a chunk after which more is to come."""

    def is_final(self, session: UploadSession) -> bool:
        """Tell whether a stored chunk is answered with the file that the upload has become."""
        raise NotImplementedError


class Tus(Dialect):
    """tus 1.0.0, with creation, creation-with-upload, creation-defer-length, expiration, termination, checksum."""

    VERSION = "1.0.0"
    of_errors = ("Upload-Expires",)
    EXTENSIONS = "creation,creation-with-upload,creation-defer-length,expiration,termination,checksum"

    def always(self) -> dict[str, str]:
        return {"Tus-Resumable": self.VERSION}

    def of_error(self, response: Response, error: UploadError) -> None:
        super().of_error(response, error)
        if isinstance(error, VersionUnsupported):
            response["Tus-Version"] = self.VERSION
        if error.code == "digest_mismatch":
            response.status_code = response.data["status"] = CHECKSUM_MISMATCH

    def progress(self, session: UploadSession) -> dict[str, str]:
        open_still = session.state == State.OPEN or session.is_finishing
        return super().progress(session) | ({"Upload-Expires": headers.expires(session)} if open_still else {})

    def state(self, session: UploadSession) -> dict[str, str]:
        deferred = {} if session.size_known else {"Upload-Defer-Length": "1"}
        given = {"Upload-Metadata": written(session.metadata)} if session.metadata else {}
        return super().state(session) | deferred | given

    def require_version(self, *, lenient: bool = False) -> None:
        """Raise VersionUnsupported unless the request is of this version; ``lenient`` if it need not say."""
        version = self.request.headers.get("Tus-Resumable")
        if version != self.VERSION and not (lenient and version is None):
            raise VersionUnsupported

    def file(self) -> FileRequest:
        self.require_version()
        if "Upload-Concat" in self.request.headers:
            raise ConcatenationUnsupported
        size, deferred = self.number("Upload-Length"), self.request.headers.get("Upload-Defer-Length")
        if deferred not in (None, "1"):
            message = "Upload-Defer-Length must be 1."
            raise InvalidRequest(message)
        if (size is None) == (deferred is None):
            message = "Send either Upload-Length or Upload-Defer-Length."
            raise InvalidRequest(message)
        pairs = parse(self.request.headers.get("Upload-Metadata", ""))
        return replace(metadata.file_request(as_text(pairs), size, conf.KEEPING), metadata=pairs)

    def first_chunk(self) -> Chunk | None:
        empty = self.number("Upload-Length") == 0
        carries = content_type(self.request)[0] == TUS_BYTES and declared_length(self.request) != 0
        return self._chunk(0) if carries or empty else None

    def chunk(self, session: UploadSession) -> Chunk:
        if content_type(self.request)[0] != TUS_BYTES:
            raise ContentTypeUnsupported(expected=TUS_BYTES)
        return self._chunk(self.offset(session), total=self.number("Upload-Length"))

    def _chunk(self, start: int, total: int | None = None) -> Chunk:
        require_identity(self.request)
        digests = Digests(self.request, **self._checksum())
        return Chunk(
            read_blocks(self.request, digests=digests),
            start=start,
            total=total,
            rules=conf.WHOLE if digests else conf.KEEPING,
            **circumstances(self.request),
        )

    def _checksum(self) -> dict[str, bytes]:
        header = self.request.headers.get("Upload-Checksum")
        if header is None:
            return {}
        name, _, value = header.strip().partition(" ")
        if name not in CHECKSUMS:
            message = f"Upload-Checksum: {name} is none of {', '.join(CHECKSUMS)}."
            raise InvalidRequest(message)
        digest = decode("Upload-Checksum", value.strip())
        if len(digest) != hashlib.new(CHECKSUMS[name], usedforsecurity=False).digest_size:
            message = f"Upload-Checksum: this is no {name}."
            raise InvalidRequest(message)
        return {CHECKSUMS[name]: digest}

    def is_final(self, session: UploadSession) -> bool:
        return False


@dataclass(frozen=True)
class Version:
    """A draft of Resumable Uploads for HTTP, as far as drafts differ on the wire."""

    number: int | None
    """Its interop version; None for the standard, which has none, and for unknown ones."""
    flag: str = "Upload-Complete"
    negated: bool = False
    """Whether the flag says the opposite, as Upload-Incomplete did."""
    typed: bool = True
    """Whether a chunk must be called application/partial-upload."""
    early: bool = False
    """Drafts to -05: a chunk after which more is to come is answered with 201, one that says nothing of it is the last;
    every answer of an upload that can go on says its offset; an upload that ended is 404; questions carry no offset."""
    processed: bool = True
    """Whether an upload is complete when its file is there, not when all its bytes are."""


STANDARD = Version(None)
VERSIONS: dict[int | None, Version] = {
    3: Version(3, "Upload-Incomplete", negated=True, typed=False, early=True, processed=False),
    4: Version(4, typed=False, early=True, processed=False),
    5: Version(5, typed=False, early=True, processed=False),
    6: Version(6, early=True, processed=False),
    7: Version(7, processed=False),
    8: Version(8, processed=False),
    9: Version(9),
    10: Version(10),
}
"""Drafts -01 to -13 by their interop versions; what is not here is treated like the standard, but gets no 104."""


class Resumable(Dialect):
    """Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload)."""

    BYTES = "application/partial-upload"

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        self.version = VERSIONS.get(headers.integer(request, "Upload-Draft-Interop-Version"), STANDARD)
        self.appended = 201 if self.version.early else 204
        self.of_errors = ("Upload-Offset",) if self.version.early else ()

    def number(self, header: str) -> int | None:
        return headers.integer(self.request, header)

    @property
    def says_complete(self) -> bool | None:
        """Whether the file ends with this request; None if it does not say, or something that is no boolean."""
        name, negated = self.version.flag, self.version.negated
        if name not in self.request.headers and "Upload-Incomplete" in self.request.headers:
            name, negated = "Upload-Incomplete", True
        said = headers.boolean(self.request, name)
        return None if said is None else said != negated

    @property
    def is_complete(self) -> bool:
        """Whether the file ends with this request; raises InvalidRequest if nobody can tell."""
        said = self.says_complete
        if said is None and not (self.version.early and self.request.method == "PATCH"):
            message = f"{self.version.flag} must be ?1 or ?0."
            raise InvalidRequest(message)
        return said is not False

    def limit(self, session: UploadSession) -> str:
        return limit(session, "expires" if self.version.early else "max-age")

    def require_sense(self) -> None:
        sent = MEANT_FOR_BYTES & {*self.request.headers}
        if self.version.early and self.request.method in ("HEAD", "DELETE") and sent:
            message = f"{self.request.method} has no {min(sent)}."
            raise InvalidRequest(message)

    def always(self) -> dict[str, str]:
        number = self.version.number
        return {} if number is None else {"Upload-Draft-Interop-Version": str(number)}

    def of_error(self, response: Response, error: UploadError) -> None:
        super().of_error(response, error)
        if isinstance(error, OffsetMismatch):
            complete = self.version.early and bool(error.context.get("complete"))
            response[self.version.flag] = self._flag(complete=complete)  # Later it says whether this request did it.
        processed = isinstance(error, CompletionFailed | FileRefused | FileUncheckable)
        if processed and self.request.method != "HEAD" and self.is_complete:
            response[self.version.flag] = self._flag(complete=True)  # All came; what follows it failed.
        if self.version.early and response.status_code == 410:
            response.status_code = response.data["status"] = 404
        if isinstance(error, FileTooLarge):
            response["Upload-Limit"] = limit()

    def progress(self, session: UploadSession) -> dict[str, str]:
        complete = session.state == State.COMPLETED or (session.is_finishing and not self.version.processed)
        said = {self.version.flag: self._flag(complete=complete), "Upload-Limit": self.limit(session)}
        return super().progress(session) | said

    def _flag(self, *, complete: bool) -> str:
        return "?1" if complete != self.version.negated else "?0"

    def file(self) -> FileRequest:
        kind = metadata.content_type(self.request.headers.get("Content-Type", ""))
        if kind in (self.BYTES, TUS_BYTES):
            kind = ""
        if self.number("Upload-Offset"):
            message = "A file begins at offset 0."
            raise InvalidRequest(message)
        query = read_query(self.request)
        name = query.get("name") or query.get("filename") or disposed_name(self.request)
        name = metadata.named(name, kind)
        return FileRequest(name=name, size=self.length(0), content_type=kind, rules=conf.KEEPING)

    def length(self, start: int = 0) -> int | None:
        """Return the file's size as the request says or implies it; raise LengthInconsistent for two of them."""
        said, body = self.number("Upload-Length"), declared_length(self.request)
        if not self.is_complete or body is None:
            return said
        if said is not None and said != start + body:
            raise LengthInconsistent(total=start + body, known=said)
        return start + body

    def first_chunk(self) -> Chunk | None:
        return self._chunk(0) if self.is_complete or declared_length(self.request) != 0 else None

    def chunk(self, session: UploadSession) -> Chunk:
        if self.version.typed and content_type(self.request)[0] != self.BYTES:
            raise ContentTypeUnsupported(expected=self.BYTES)
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
            **circumstances(self.request),
        )

    def is_final(self, session: UploadSession) -> bool:
        if self.is_complete and session.state == State.OPEN:
            raise LengthInconsistent(total=session.bytes_stored, known=session.file_size)
        return self.is_complete


FLAGS = {"Upload-Complete", "Upload-Incomplete"}
OF_TUS = {"Upload-Length", "Upload-Defer-Length", "Upload-Metadata", "Upload-Concat"}


MEANT_FOR_BYTES = {*FLAGS, "Upload-Offset", "Upload-Length"}


def spoken_in(request: HttpRequest) -> Dialect:
    """Return the dialect of a request; tus counts first: some systems add headers of the other by themselves."""
    said = {*request.headers}
    if "Tus-Resumable" in said:
        return Tus(request)
    resumable = said & (FLAGS | {"Upload-Draft-Interop-Version"})
    if request.method in ("POST", "PUT"):
        if resumable:  # A flag that is none counts as not sent: the file comes whole.
            return Resumable(request) if Resumable(request).says_complete is not None else Dialect(request)
        return Tus(request) if said & OF_TUS else Dialect(request)
    if resumable or content_type(request)[0] == Resumable.BYTES:
        return Resumable(request)
    return Tus(request) if request.method == "PATCH" or said & OF_TUS else Dialect(request)
