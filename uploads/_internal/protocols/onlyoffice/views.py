"""The protocol's endpoints: parse the request, call one function of sessions, respond."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.http import HttpRequest
from rest_framework.permissions import SAFE_METHODS, AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.throttling import ScopedRateThrottle

from uploads import names
from uploads._internal import conf as core
from uploads._internal import sessions
from uploads._internal.http.requests import read_file, read_query
from uploads._internal.http.views import UploadView, exempt_from_csrf, get_or_404
from uploads._internal.protocols.onlyoffice import answers, conf, errors, schema
from uploads._internal.protocols.onlyoffice.location import location_url
from uploads._internal.protocols.onlyoffice.requests import read_chunk, read_chunk_number, read_fields
from uploads._internal.protocols.onlyoffice.responses import (
    empty_envelope,
    enveloped,
    location_response,
    progress_status,
    with_progress,
)
from uploads._internal.protocols.onlyoffice.serializers import (
    CheckRequest,
    EditRequest,
    InitiateRequest,
    SessionRequest,
    WholeFileRequest,
)
from uploads._internal.sessions import FileRequest
from uploads.destinations import get_destination
from uploads.exceptions import InvalidName, InvalidRequest
from uploads.models import UploadSession


class OnlyofficeView(UploadView):
    """Base of the endpoints. Errors have the protocol's form."""

    protocol = "onlyoffice"

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response | None]:
        return errors.handle

    def serialize(self, kind: type[Serializer[Any]], session: UploadSession) -> dict[str, Any]:
        """Return the protocol's representation of a session."""
        return dict(kind(session, context={"request": self.request}).data)

    def edit(self, file_id: str, size: int | None, at_most: int | None = None) -> UploadSession:
        rules, alias = conf.current().rules, self.destination
        return sessions.create_edit(self.user, file_id, size, at_most=at_most, rules=rules, alias=alias)


class OnlyofficeCreateViewSet(OnlyofficeView):
    """Open upload sessions, and answer the questions that clients ask before."""

    scope = "uploads-create"

    def get_permissions(self) -> Any:
        return [AllowAny()] if self.action == "advertise" else super().get_permissions()

    @schema.CREATE_SESSION
    def create_session(self, request: Request, folder_id: str, **_: str) -> Response:
        """Open a session for a file in the folder; send chunks to the returned ``location``."""
        return self._doubly_enveloped(self._create(request, folder_id))

    @schema.CREATE_PLAIN
    def create_plain(self, request: Request, folder_id: str, **_: str) -> Response:
        """Open a session for a file in the folder."""
        return enveloped(self.serialize(answers.Session, self._create(request, folder_id)))

    @schema.EDIT_SESSION
    def edit_session(self, request: Request, file_id: str, **_: str) -> Response:
        """Open a session for new content of a file, which keeps its version."""
        fields = EditRequest(data=read_fields(request))
        fields.is_valid(raise_exception=True)
        location_url(request)
        return self._doubly_enveloped(self.edit(file_id, fields.validated_data["filesize"]))

    @schema.CHECK
    def check(self, request: Request, folder_id: str, **_: str) -> Response:
        """Return the titles that files of the folder already have."""
        fields = CheckRequest(data=read_fields(request, is_list=True))
        fields.is_valid(raise_exception=True)
        cleaned = {title: _cleaned(title) for title in fields.validated_data["filestitle"]}
        destination = get_destination(self.destination)
        folder = destination.folder(self.user, folder_id)
        existing = destination.existing(self.user, folder, [title for title in cleaned.values() if title])
        return enveloped([title for title, clean in cleaned.items() if clean in existing])

    @schema.ADVERTISE
    def advertise(self, request: Request, **_: str) -> Response:
        """Return the recommended size of chunks and the number to send at a time."""
        config = conf.current()
        return enveloped(
            {
                "chunkUploadSize": config.chunk_size,
                "maxUploadThreadCount": core.current().UPLOAD_THREADS,
                "extsUploadable": [],
                "extsMustConvert": {},
            }
        )

    def _create(self, request: Request, folder_id: str) -> UploadSession:
        fields = SessionRequest(data=read_fields(request))
        fields.is_valid(raise_exception=True)
        location_url(request)
        return self.open(folder_id, fields.file_request())

    def _doubly_enveloped(self, session: UploadSession) -> Response:
        """Return the session in the envelope and beside it, because clients read either."""
        data = self.serialize(answers.Session, session)
        return enveloped({"success": True, "data": data}, success=True, data=data)


class LoginViewSet(OnlyofficeView):
    """The endpoint that clients call before any other."""

    permission_classes = (AllowAny,)

    @schema.LOGIN_CHECK
    def check(self, request: Request, **_: str) -> Response:
        """Return whether the credentials of the request are valid."""
        return enveloped(request.user.is_authenticated)


class OnlyofficeFileViewSet(OnlyofficeView):
    """Store files in one request, through the same sessions; describe files."""

    scope = "uploads-create"

    @schema.FILE_RETRIEVE
    def retrieve(self, request: Request, file_id: str, **_: str) -> Response:
        """Return the portal's description of a file."""
        return enveloped(answers.described(get_destination(self.destination).describe(self.user, file_id), request))

    @schema.FILE_UPLOAD
    def upload(self, request: Request, folder_id: str, **_: str) -> Response:
        """Store a file in the folder: the first file of a form, or the body."""
        return self._stored(self._insert(folder_id), several=True)

    @schema.FILE_INSERT
    def insert(self, request: Request, folder_id: str, **_: str) -> Response:
        """Store a file in the folder, called ``title`` if that is given."""
        return self._stored(self._insert(folder_id))

    @schema.FILE_UPDATE
    def update(self, request: Request, file_id: str, **_: str) -> Response:
        """Store new content of a file."""
        body = read_file(request)
        return self._stored(sessions.receive_whole(partial(self.edit, file_id, None), body.chunk))

    @schema.FILE_SAVE
    def save_edited(self, request: Request, file_id: str, **_: str) -> Response:
        """Store a file that an editor changed."""
        return self.update(request, file_id)

    def _insert(self, folder_id: str) -> UploadSession:
        body = read_file(self.request)

        def file(at_most: int | None = None) -> FileRequest:
            # Generated libraries call the fields InsertFile.Title, InsertFile.CreateNewIfExist, …
            given = {name.rpartition(".")[2]: value for name, value in body.fields.items()}
            fields = WholeFileRequest(data={"filename": body.name} | given)
            fields.is_valid(raise_exception=True)
            return fields.file_request(at_most)

        return sessions.receive_whole(lambda at_most: self.open(folder_id, file(at_most)), body.chunk, file)

    def _stored(self, session: UploadSession, *, several: bool = False) -> Response:
        if progress_status(session) == 202:
            return with_progress(enveloped(self.serialize(answers.Session, session), status=202), session)
        data = self.serialize(answers.WholeFile, session)
        # Since 3.7 the protocol's own servers return a list, which only the clients generated for them understand.
        generated = self.request.META.get("HTTP_USER_AGENT", "").startswith("OpenAPI-Generator")
        return enveloped([data] if several and generated else data)


class SessionView(OnlyofficeView):
    """Base of the endpoints of one session."""

    scope = "uploads-chunk"
    throttle_classes = (ScopedRateThrottle,)  # A rate for all requests of a user must not apply to chunks.
    initiates = False

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        query = read_query(request)
        self.initiates = query.get("initiate", "").lower() == "true"
        if (kwargs.get("session_id") or query.get("uid")) and not self.initiates:
            exempt_from_csrf(request)
        return super().initialize_request(request, *args, **kwargs)

    @property
    def is_capability(self) -> bool:
        """Return whether the session's id is enough, so that an expired token does not matter."""
        return conf.current().LOCATION_AUTH == "capability" and not self.initiates

    def get_authenticators(self) -> Any:
        return [] if self.is_capability else super().get_authenticators()

    def get_permissions(self) -> Any:
        return [AllowAny()] if self.is_capability else super().get_permissions()

    def find(self, session_id: str) -> UploadSession:
        """Return the session that the client may continue.

        This is a session of its own, or any session whose id it knows (``LOCATION_AUTH``).
        """
        if not self.is_capability:
            return super().find(session_id)
        session = self.named_session = get_or_404(UploadSession.objects.all(), session_id)
        if self.request.method not in SAFE_METHODS:
            self.slot.acquire(session.owner_key)
        return session

    def find_live(self, session_id: str) -> UploadSession:
        """Return the session without interrupting a request that writes to it, even if pages poll."""
        return sessions.require_live(self.find(session_id))

    def store(self, session_id: str) -> UploadSession:
        """Store the next chunk and return its session."""
        return sessions.receive(self.find(session_id), read_chunk(self.request))

    def store_numbered(self, session_id: str) -> UploadSession:
        """Store the chunk with the number in the query, or the next one.

        Only ``finalize`` completes the file.
        """
        session, number = self.find(session_id), read_chunk_number(self.request)
        chunk = read_chunk(self.request)
        if number is None:
            return sessions.receive(session, chunk, completes=False)
        return sessions.receive_numbered(session, chunk, number)


class SessionViewSet(SessionView):
    """The REST routes of one session. The folder in the path is ignored."""

    @schema.SESSION_RETRIEVE
    def retrieve(self, request: Request, session_id: str, **_: str) -> Response:
        """Return the session's state; continue at ``bytes_uploaded``."""
        return enveloped(self.serialize(answers.Session, self.find_live(session_id)))

    @schema.SESSION_RECEIVE
    def receive(self, request: Request, session_id: str, **_: str) -> Response:
        """Store the next chunk: 200, or 201 with the file after the last byte."""
        return self._progress(self.store(session_id))

    @schema.SESSION_RECEIVE_NUMBERED
    def receive_numbered(self, request: Request, session_id: str, **_: str) -> Response:
        """Store the chunk ``chunkNumber``, replacing an earlier chunk with the same number."""
        return enveloped(self.serialize(answers.Progress, self.store_numbered(session_id)))

    @schema.SESSION_FINALIZE
    def finalize(self, request: Request, session_id: str, **_: str) -> Response:
        """Complete the file: 201, or 409 with the missing chunks."""
        return self._progress(sessions.finalize(self.find(session_id), conf.current().rules))

    @schema.SESSION_DESTROY
    def destroy(self, request: Request, session_id: str, **_: str) -> Response:
        """End the session without a file."""
        self.abort_session(self.find(session_id))
        return empty_envelope()

    def _progress(self, session: UploadSession) -> Response:
        status = progress_status(session)
        data = self.serialize(answers.FileOfAPI if status == 201 else answers.FutureFile, session)
        return with_progress(enveloped(data, status=status), session)


class LocationViewSet(SessionView):
    """``ChunkedUploader.ashx``: one URL for all operations of a session; the query selects one."""

    @schema.LOCATION_DISPATCH_POST
    def dispatch_post(self, request: Request, **_: str) -> Response:
        """Store a chunk, in order or numbered; finalize, abort or initiate a session."""
        query = read_query(request)
        for name in ("initiate", "abort", "finalize", "upload"):
            if query.get(name, "").lower() == "true":
                handler: Callable[[Request], Response] = getattr(self, name)
                return handler(request)
        return self.upload(request) if "chunknumber" in query else self.receive(request)

    @schema.LOCATION_RECEIVE
    def receive(self, request: Request, **_: str) -> Response:
        """Store the next chunk."""
        return self._progress(self.store(self._uid()))

    def upload(self, request: Request) -> Response:
        return location_response(self.serialize(answers.Progress, self.store_numbered(self._uid())))

    def finalize(self, request: Request) -> Response:
        return self._progress(sessions.finalize(self.find(self._uid()), conf.current().rules))

    def abort(self, request: Request) -> Response:
        self.abort_session(self.find(self._uid()))
        return location_response(None)

    def initiate(self, request: Request) -> Response:
        fields = InitiateRequest(data=read_query(request))
        fields.is_valid(raise_exception=True)
        location_url(request)
        session = self.open(fields.validated_data["folderid"], fields.file_request())
        return location_response(self.serialize(answers.Session, session))

    @schema.LOCATION_RETRIEVE
    def retrieve(self, request: Request, **_: str) -> Response:
        """Return the session's state; continue at ``bytes_uploaded``."""
        session = self.find_live(self._uid())
        return with_progress(location_response(self.serialize(answers.Session, session)), session)

    def _uid(self) -> str:
        uid = read_query(self.request).get("uid")
        if not uid:
            msg = "The location has no uid."
            raise InvalidRequest(msg)
        return uid

    def _progress(self, session: UploadSession) -> Response:
        status = progress_status(session)
        data = self.serialize(answers.File if status == 201 else answers.Progress, session)
        return with_progress(location_response(data, status=status), session)


def _cleaned(title: str) -> str | None:
    try:
        return names.clean(title, conf.LONGEST_TITLE)
    except InvalidName:
        return None
