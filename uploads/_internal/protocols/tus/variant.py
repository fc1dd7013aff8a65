"""tus 1.0 (https://tus.io/protocols/resumable-upload)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from uuid import UUID

from rest_framework.response import Response

from uploads._internal.http import metadata, routes
from uploads._internal.http.body import read_blocks, require_identity
from uploads._internal.http.deadline import declared_length
from uploads._internal.http.digests import Digests, decode
from uploads._internal.http.exceptions import DigestMismatch
from uploads._internal.http.multipart import content_type
from uploads._internal.http.requests import body_options
from uploads._internal.protocols.resources import conf, headers
from uploads._internal.protocols.resources.base import Variant
from uploads._internal.protocols.resources.conf import TUS_BYTES
from uploads._internal.protocols.resources.errors import (
    ContentTypeUnsupported,
    UploadConcatenated,
    VersionUnsupported,
)
from uploads._internal.protocols.tus.metadata import decode_text, parse, serialize
from uploads._internal.sessions import Chunk, FileRequest, max_file_size
from uploads.exceptions import ChunkBeyondFile, InvalidRequest, SessionNotFound, UploadError
from uploads.models import State, UploadSession

CHECKSUMS = {"sha1": "sha1", "md5": "md5", "sha256": "sha256", "sha-256": "sha256"}
"""Algorithms of Upload-Checksum and their hashlib names."""
MAX_PARTIALS = 80
"""Maximum number of partial uploads in a file; their URLs have to fit into one header."""
STATUSES = {DigestMismatch: 460, ChunkBeyondFile: 413}
"""Statuses of tus 1.0 (checksum extension), and of tusd for a PATCH beyond the length, which other servers follow."""


class Tus(Variant):
    """tus 1.0.0, with all its extensions but checksum-trailer and concatenation-unfinished."""

    protocol = "tus"
    VERSION = "1.0.0"
    of_errors = ("Upload-Expires",)
    EXTENSIONS = "creation,creation-with-upload,creation-defer-length,expiration,termination,checksum,concatenation"

    state_status = 200
    completes_when_asked = True

    @classmethod
    def discovery(cls) -> dict[str, str]:
        return {
            "Tus-Resumable": cls.VERSION,
            "Tus-Version": cls.VERSION,
            "Tus-Extension": cls.EXTENSIONS,
            "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
            "Tus-Max-Size": str(max_file_size()),
        }

    def always(self) -> dict[str, str]:
        return {"Tus-Resumable": self.VERSION}

    def of_error(self, response: Response, error: UploadError) -> None:
        super().of_error(response, error)
        if isinstance(error, VersionUnsupported):
            response["Tus-Version"] = self.VERSION
        if status := STATUSES.get(type(error)):
            response.status_code = response.data["status"] = status

    def progress(self, session: UploadSession) -> dict[str, str]:
        open_still = session.state == State.OPEN or session.is_finishing
        if session.partials and open_still:  # It has no offset until it is complete.
            return {"Upload-Expires": headers.expires(session)}
        return super().progress(session) | ({"Upload-Expires": headers.expires(session)} if open_still else {})

    def state(self, session: UploadSession) -> dict[str, str]:
        deferred = {} if session.size_known else {"Upload-Defer-Length": "1"}
        given = {"Upload-Metadata": serialize(session.metadata)} if session.metadata else {}
        if session.partials:
            urls = (routes.reverse_sibling(self.request, "upload", session_id=pk.hex) for pk in session.partials)
            given["Upload-Concat"] = f"final;{' '.join(urls)}"
        elif session.is_partial:
            given["Upload-Concat"] = "partial"
        return super().state(session) | deferred | given

    def require_sense(self) -> None:
        if self.request.method != "OPTIONS":
            self.require_version(lenient=self.request.method in ("HEAD", "GET"))

    def resumes(self, *, interim: bool) -> bool:
        return True

    def require_version(self, *, lenient: bool = False) -> None:
        """Raise VersionUnsupported for another version; if ``lenient``, the header may be missing."""
        version = self.request.headers.get("Tus-Resumable")
        if version != self.VERSION and not (lenient and version is None):
            raise VersionUnsupported

    def file(self) -> FileRequest:
        self.require_version()
        kind, _, listed = self.request.headers.get("Upload-Concat", "").partition(";")
        if kind == "final":
            return self._joined(listed)
        if kind not in ("", "partial"):
            message = "Upload-Concat must be partial, or final; with the URLs of the partial uploads."
            raise InvalidRequest(message)
        size, deferred = self.number("Upload-Length"), self.request.headers.get("Upload-Defer-Length")
        if deferred not in (None, "1"):
            message = "Upload-Defer-Length must be 1."
            raise InvalidRequest(message)
        if (size is None) == (deferred is None):
            message = "Send either Upload-Length or Upload-Defer-Length."
            raise InvalidRequest(message)
        file = self._file(size)
        return replace(file, is_partial=True, relative_path="") if kind else file

    def _joined(self, urls: str) -> FileRequest:
        """Return the file that consists of the partial uploads with these URLs (concatenation extension)."""
        try:
            partials = [UUID(hex=url.rpartition("/")[2]) for url in urls.split()]
        except ValueError as error:
            raise SessionNotFound from error
        if declared_length(self.request) != 0:
            message = "Upload-Concat: a final upload has no bytes of its own."
            raise InvalidRequest(message)
        if "Upload-Length" in self.request.headers or not 0 < len({*partials}) == len(partials) <= MAX_PARTIALS:
            message = f"Upload-Concat: name 1 to {MAX_PARTIALS} different partial uploads, and send no Upload-Length."
            raise InvalidRequest(message)
        return replace(self._file(0), partials=partials)

    def _file(self, size: int | None) -> FileRequest:
        pairs = parse(self.request.headers.get("Upload-Metadata", ""))
        return replace(metadata.file_request(decode_text(pairs), size, conf.KEEPING), metadata=pairs)

    def first_chunk(self) -> Chunk | None:
        empty = self.number("Upload-Length") == 0
        carries = content_type(self.request)[0] == TUS_BYTES and declared_length(self.request) != 0
        return self._chunk(0) if carries or empty else None

    def chunk(self, session: UploadSession) -> Chunk:
        if session.partials:
            raise UploadConcatenated
        if content_type(self.request)[0] != TUS_BYTES:
            raise ContentTypeUnsupported(expected=TUS_BYTES)
        return self._chunk(self.offset(session), total=self.number("Upload-Length"))

    def _chunk(self, start: int, total: int | None = None) -> Chunk:
        require_identity(self.request)
        digests = Digests(self.request, self._checksum())
        return Chunk(
            read_blocks(self.request, digests=digests),
            start=start,
            total=total,
            rules=conf.WHOLE if digests else conf.KEEPING,
            **body_options(self.request),
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
        if not digest:
            message = f"Upload-Checksum: the value of {name} is missing."
            raise InvalidRequest(message)
        if len(digest) != hashlib.new(CHECKSUMS[name], usedforsecurity=False).digest_size:
            raise DigestMismatch(algorithm=name)
        return {CHECKSUMS[name]: digest}

    def is_final(self, session: UploadSession) -> bool:
        return False
