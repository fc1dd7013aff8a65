"""Uploads as resources: POST or PUT begins, HEAD returns the offset, PATCH appends, DELETE ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from django.db import Error
from django.http import HttpRequest, HttpResponseBase
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import ScopedRateThrottle

from uploads._internal import sessions
from uploads._internal.http import interim, metadata, routes
from uploads._internal.http.errors import problem
from uploads._internal.http.exceptions import DatabaseUnavailable
from uploads._internal.http.listing import open_sessions
from uploads._internal.http.requests import read_file
from uploads._internal.http.views import (
    RETRY_COMPLETION_AFTER,
    UploadView,
    exempt_from_csrf,
    file_status,
    is_from_page,
)
from uploads._internal.protocols.resources import conf
from uploads._internal.protocols.resources.dispatch import PROTOCOLS, variant_of
from uploads._internal.protocols.resources.errors import TYPES
from uploads._internal.sessions import Chunk, FileRequest
from uploads._internal.sessions.direct import is_offered
from uploads.destinations import get_destination
from uploads.exceptions import (
    ChunkBeyondFile,
    LengthInconsistent,
    ModeConflict,
    SessionBusy,
    SessionClosed,
    UploadError,
)
from uploads.models import State, UploadSession


class ResourceView(UploadView):
    """Base of both URLs: find the request's protocol, and return errors in its form."""

    schema = None  # These protocols use headers, and OpenAPI describes bodies.
    session: UploadSession | None = None
    """The session to which the request appends, once it is found."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        request.method = request.headers.get("X-HTTP-Method-Override", "").upper() or request.method
        self.variant = variant_of(request)
        self.protocol = self.variant.protocol
        return super().dispatch(request, *args, **kwargs)

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response | None]:
        return self._answer_error

    def _answer_error(self, error: Exception, context: dict[str, Any]) -> Response | None:
        response = problem(error, TYPES)
        if response is not None and isinstance(error, UploadError):
            self.variant.of_error(response, error)
            self._say_state(response)
        return response

    def _say_state(self, response: Response) -> None:
        """Add the upload's progress headers that its protocol demands of errors."""
        if self.session is None:
            return
        with suppress(Error):
            self.session.refresh_from_db()
            if self.session.state == State.OPEN:
                for name, value in self.variant.progress(self.session).items():
                    if name in self.variant.of_errors:
                        response[name] = value

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer = super().finalize_response(request, response, *args, **kwargs)
        for name, value in self.variant.always().items():
            answer[name] = value
        return answer

    def discover(self, request: Request, **_: str) -> Response:
        """Return the supported protocols and their limits."""
        headers: dict[str, str] = {}
        for protocol in PROTOCOLS:
            headers |= protocol.discovery()
        if self.speaks_interim and request.headers.get("User-Agent") == interim.DOCTOR:
            self._interim({})
        return Response(status=200, headers=headers)

    @property
    def speaks_interim(self) -> bool:
        """Return whether the client understands interim responses and can get them."""
        return (
            self.variant.knows_interim and conf.current().INTERIM_RESPONSES and interim.can_send(self.variant.request)
        )

    def address(self, session: UploadSession, name: str = "upload") -> str:
        """Return the path of the session's own URL, or of another one, in the include of the request.

        Namespace and path parameters are kept.
        """
        return routes.reverse_sibling(self.variant.request, name, session_id=session.id.hex)

    def receive(self, session: UploadSession, chunk: Chunk) -> UploadSession:
        """Store a chunk, and report progress to clients that understand interim responses."""
        if self.speaks_interim:
            chunk = replace(chunk, blocks=self._telling(session, chunk.blocks))
        return sessions.receive(session, chunk)

    def _telling(self, session: UploadSession, blocks: Iterator[bytes]) -> Iterator[bytes]:
        reported = session.bytes_stored
        for block in blocks:
            yield block
            if session.bytes_stored != reported:
                reported = session.bytes_stored
                self._interim({"Upload-Offset": str(reported)})

    def _interim(self, headers: dict[str, str]) -> None:
        interim.send(self.variant.request, 104, "Upload Resumption Supported", self.variant.always() | headers)

    def final(self, session: UploadSession) -> Response:
        """Return the completed file, or 202 while the file is being completed."""
        headers = self.variant.progress(session) | {"Location": self.absolute(session)} | self.place(session)
        status = file_status(session)
        if status == 202:
            headers |= {"Retry-After": str(RETRY_COMPLETION_AFTER)}
        return Response(self.described(session), status, headers=headers)

    def store_whole(self, request: Request, name: str = "") -> Response:
        """Store a file whole or not at all, because its client cannot resume it.

        ``name`` is the file's name in the URL, if there is one.
        """
        body = read_file(request)
        kind = metadata.content_type(request.headers.get("Content-Type", ""))
        kind = "" if kind in ("multipart/form-data", "application/x-www-form-urlencoded") else kind

        def file(at_most: int | None = None) -> FileRequest:
            given = (body.fields.get("name"), body.fields.get("filename"), body.name, name)
            title = metadata.named(next(filter(None, given), ""), kind)
            return FileRequest(name=title, size=None, at_most=at_most, content_type=kind, rules=conf.KEEPING)

        chunk, folder = body.chunk, self.folder_of(file())
        chunk = replace(chunk, total=self.variant.whole_size())
        return self.final(sessions.receive_whole(lambda at_most: self.open(folder, file(at_most)), chunk, file))

    def absolute(self, session: UploadSession) -> str:
        return self.request.build_absolute_uri(self.address(session))

    def place(self, session: UploadSession) -> dict[str, str]:
        """Return a header with the URL of the completed file, if the portal reports one."""
        url = self.file_url(session)
        return {"Content-Location": url} if url else {}

    def described(self, session: UploadSession) -> dict[str, Any]:
        """Return the description of an upload; ``file`` is the portal's description of the completed file."""
        result = session.result
        shown = ("id", "folder_id", "title", "version", "details")
        file = result and {name: result[name] for name in shown} | {
            "size": session.file_size,
            "crc32": session.crc,
        }
        return {
            "id": session.id.hex,
            "upload": self.address(session),
            "state": session.state,
            "name": session.file_name,
            "metadata": session.metadata,
            "mode": session.mode,
            "sending": session.lease_until is not None and session.state == State.OPEN,
            "offset": session.bytes_stored,
            "length": session.file_size if session.size_known else None,
            "expires": session.expires_at.isoformat() if session.state in (State.OPEN, State.FAILED) else None,
            "failure": session.failure,
            "code": _code_of(session),
            "url": self.file_url(session),
            "file": file,
        }


def _stored_crc32(session: UploadSession) -> dict[str, Any]:
    """Return the CRC-32 of the bytes up to the offset.

    With it, a client verifies that it still has the same file.
    """
    rows = sessions.stored_of(session)
    return {"offset": sum(row.size for row in rows), "crc32": f"{sessions.whole_crc32(rows):08x}"}


def _code_of(session: UploadSession) -> str:
    """Return the error code of a failed session, else empty text."""
    try:
        sessions.require_no_failure(session)
    except UploadError as error:
        return error.code
    return ""


class CollectionViewSet(ResourceView):
    """The endpoint that begins and lists uploads."""

    scope = "uploads-create"

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        if self.variant.is_custom:
            exempt_from_csrf(request)
        return super().initialize_request(request, *args, **kwargs)

    def create(self, request: Request, **_: str) -> Response:
        """Begin an upload; complete it if the request has the whole file."""
        if not self.variant.resumes(interim=self.speaks_interim):
            return self.store_whole(request)
        file, chunk = self.variant.file(), self.variant.first_chunk()
        session = self.open(self.folder_of(file), file)
        if self.speaks_interim:
            self._interim({"Location": self.absolute(session), "Upload-Limit": self.variant.limit(session)})
        if chunk is not None:
            session = self._receive_first(session, chunk)
            if self.variant.is_final(session):
                return self.final(session)
        sessions.require_no_failure(session)
        return Response(status=201, headers=self._begun(session) | self.place(session))

    def list(self, request: Request, **_: str) -> Response:
        """Return the user's uploads that can resume, newest first, for pages that were closed.

        ``after`` is the ``next`` of the previous page. ``numbered`` selects uploads in numbered chunks instead.
        """
        named, folder = self.kwargs.get("folder_id"), None
        if named:
            folder = get_destination(self.destination).folder(self.user, named).id
        query = request.query_params
        page, after = open_sessions(
            self.user, self.destination, query.get("after", ""), folder, numbered="numbered" in query
        )
        return Response({"uploads": [self.described(session) for session in page], "next": after})

    def _begun(self, session: UploadSession) -> dict[str, str]:
        # An absolute location repeats that of the 104, and some programs resolve a path wrongly. For a browser, which
        # knows the way through proxies better, a path avoids a wrong guess of the portal's origin.
        absolute = self.variant.has_absolute_location or not is_from_page(self.variant.request)
        location = self.absolute(session) if absolute else self.address(session)
        parts = {"Upload-Parts": self.address(session, "parts")} if session.file_size and is_offered(session) else {}
        return {"Location": location} | parts | self.variant.progress(session)

    def _receive_first(self, session: UploadSession, chunk: Chunk) -> UploadSession:
        """Store the chunk of the request that begins the upload.

        After an error, abort the upload if the client cannot discover its URL.
        """
        try:
            return self.receive(session, chunk)
        except BaseException as error:
            if self.speaks_interim:
                raise
            if isinstance(error, UploadError) and error.passing and not isinstance(error, DatabaseUnavailable):
                session.refresh_from_db()
                if session.state == State.OPEN and not session.is_whole:
                    return session  # The response reports the stored size.
            sessions.give_up(session)
            raise


class UploadViewSet(ResourceView):
    """The endpoint of one upload."""

    scope = "uploads-chunk"
    throttle_classes = (ScopedRateThrottle,)  # A rate for all requests of a user must not apply to chunks.

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        exempt_from_csrf(request)
        return super().initialize_request(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.variant.require_sense()

    def head(self, request: Request, session_id: str, **_: str) -> Response:
        """Return the offset at which to resume; an older request that still writes stops."""
        session = self._ask(session_id)
        if self.variant.completes_when_asked and session.state == State.OPEN and session.is_whole:
            session = self.receive(session, Chunk(iter(()), start=session.file_size, rules=conf.KEEPING))
        sessions.require_no_failure(session)
        return Response(status=self.variant.state_status, headers=self._state(session))

    def retrieve(self, request: Request, session_id: str, **_: str) -> Response:
        """Return the state of the upload: its offset, its failure, its completed file."""
        session = sessions.require_live(self.find(session_id))
        if not session.is_sequential:  # There is no offset to resume at.
            return Response(self.described(session))
        if self.variant.resumes_after_get:
            session = self._ask(session_id)
        described = self.described(session)
        if "crc32" in request.query_params:
            described |= _stored_crc32(session)
        return Response(described, headers=self._state(session))

    def append(self, request: Request, session_id: str, **_: str) -> Response:
        """Store the next bytes of the file."""
        self.session = session = self.find(session_id)
        try:
            session = self.receive(session, self.variant.chunk(session))
        except ChunkBeyondFile:
            if self.variant.ends_inconsistent:  # The client contradicts itself (draft, section 4.4).
                sessions.give_up(session)
            raise
        except SessionClosed as error:
            if self.variant.ends_inconsistent:  # Only reading a body without a length showed that it has bytes.
                raise LengthInconsistent(total="more", known=session.file_size) from error
            raise
        if self.variant.is_final(session):
            return self.final(session)
        sessions.require_no_failure(session)
        return Response(status=self.variant.appended, headers=self.variant.progress(session) | self.place(session))

    def put(self, request: Request, session_id: str, **_: str) -> Response:
        """Store a file that the URL names: ``curl -T`` adds the name to a URL that ends with a slash."""
        if self.variant.resumes(interim=False):
            raise MethodNotAllowed(str(request.method))
        return self.store_whole(request, session_id)

    def destroy(self, request: Request, session_id: str, **_: str) -> Response:
        """End the upload. The file of a completed upload belongs to the portal and stays."""
        sessions.require_live(self.find(session_id))
        self.end(session_id)
        return Response(status=204)

    def _ask(self, session_id: str) -> UploadSession:
        session = sessions.require_live(self.find(session_id))
        if not session.is_sequential:
            raise ModeConflict(mode=session.get_mode_display())
        if not sessions.request_handover(session):
            raise SessionBusy
        return session

    def _state(self, session: UploadSession) -> dict[str, str]:
        return self.variant.state(session) | self.place(session)
