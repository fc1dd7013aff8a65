"""The endpoints of the upload protocol: parse, call one verb, answer."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.http import HttpRequest
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import ScopedRateThrottle

from uploads import conf as core
from uploads import names, owners, sessions
from uploads.destinations import get_destination
from uploads.exceptions import InvalidName, InvalidRequest, SessionNotFound
from uploads.http.views import UploadView
from uploads.models import UploadSession
from uploads.protocols.onlyoffice import conf, errors
from uploads.protocols.onlyoffice.location import location_url
from uploads.protocols.onlyoffice.requests import read_chunk, read_chunk_number, read_fields, read_file, read_query
from uploads.protocols.onlyoffice.responses import (
    chunk_data,
    described,
    enveloped,
    file_data,
    nothing,
    plain,
    progress_data,
    progress_status,
    session_data,
    whole_file_data,
    with_progress,
)
from uploads.protocols.onlyoffice.serializers import (
    CheckRequest,
    EditRequest,
    InitiateRequest,
    SessionRequest,
    WholeFileRequest,
)


class DoorView(UploadView):
    """Answers errors in the protocol's words."""

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response | None]:
        return errors.handle


class CreateViewSet(DoorView):
    """Open upload sessions, and what clients ask before they do."""

    scope = "uploads-create"

    def get_permissions(self) -> Any:
        return [AllowAny()] if self.action == "advertise" else super().get_permissions()

    def create_session(self, request: Request, folder_id: str, **_: str) -> Response:
        """Open a session for a file in the folder; send its chunks to the ``location`` it answers."""
        return self._doubly_enveloped(self._create(request, folder_id))

    def create_plain(self, request: Request, folder_id: str, **_: str) -> Response:
        """Open a session for a file in the folder."""
        return enveloped(session_data(self._create(request, folder_id), request))

    def edit_session(self, request: Request, file_id: str, **_: str) -> Response:
        """Open a session for new content of a file, which keeps its version."""
        fields = EditRequest(data=read_fields(request))
        fields.is_valid(raise_exception=True)
        location_url(request)
        return self._doubly_enveloped(_edit(self.user, file_id, fields.validated_data["filesize"]))

    def check(self, request: Request, folder_id: str, **_: str) -> Response:
        """Tell which of the titles files of the folder have already."""
        fields = CheckRequest(data=read_fields(request))
        fields.is_valid(raise_exception=True)
        cleaned = {title: _cleaned(title) for title in fields.validated_data["filestitle"]}
        destination = get_destination()
        folder = destination.folder(self.user, folder_id)
        existing = destination.existing(self.user, folder, [title for title in cleaned.values() if title])
        return enveloped([title for title, clean in cleaned.items() if clean in existing])

    def advertise(self, request: Request, **_: str) -> Response:
        """Tell clients how large chunks should be and how many to send at a time."""
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
        return sessions.create(self.user, folder_id, fields.file_request())

    def _doubly_enveloped(self, session: UploadSession) -> Response:
        """Answer in the envelope and beside it: clients read either."""
        data = session_data(session, self.request)
        return enveloped({"success": True, "data": data}, success=True, data=data)


class LoginViewSet(DoorView):
    """What clients ask before anything else."""

    permission_classes = (AllowAny,)

    def check(self, request: Request, **_: str) -> Response:
        """Tell whether the credentials that came along are good."""
        return enveloped(request.user.is_authenticated)


class FileViewSet(DoorView):
    """Files in one request, through the same sessions; and what is known of a file."""

    scope = "uploads-create"

    def retrieve(self, request: Request, file_id: str, **_: str) -> Response:
        """Tell what the portal knows of a file."""
        return enveloped(described(get_destination().describe(self.user, file_id), request))

    def upload(self, request: Request, folder_id: str, **_: str) -> Response:
        """Store a file in the folder: the first file of a form, or the body."""
        return self._stored(self._insert(folder_id), several=True)

    def insert(self, request: Request, folder_id: str, **_: str) -> Response:
        """Store a file in the folder, called ``title`` if that is given."""
        return self._stored(self._insert(folder_id))

    def update(self, request: Request, file_id: str, **_: str) -> Response:
        """Store new content of a file."""
        self.turn.take(owners.key_of(self.user))
        body = read_file(request)
        create = partial(_edit, self.user, file_id, size_known=False)
        return self._stored(sessions.receive_whole(create, body.chunk))

    def _insert(self, folder_id: str) -> UploadSession:
        self.turn.take(owners.key_of(self.user))
        body = read_file(self.request)
        fields = WholeFileRequest(data={"filename": body.name} | body.fields)
        fields.is_valid(raise_exception=True)
        return sessions.receive_whole(
            lambda size: sessions.create(self.user, folder_id, fields.file_request(size)), body.chunk
        )

    def _stored(self, session: UploadSession, *, several: bool = False) -> Response:
        if progress_status(session) == 202:
            return with_progress(enveloped(session_data(session, self.request), status=202), session)
        data = whole_file_data(session, self.request)
        # Since 3.7 the protocol's own servers answer a list, which only the clients made for them understand.
        generated = self.request.META.get("HTTP_USER_AGENT", "").startswith("OpenAPI-Generator")
        return enveloped([data] if several and generated else data)


class SessionView(DoorView):
    """What the endpoints of one session share."""

    scope = "uploads-chunk"
    throttle_classes = (ScopedRateThrottle,)  # A rate for all requests of a user is not meant for chunks.
    initiates = False

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # A session's id is unguessable, so a forged request cannot name one; and looking for a
        # CSRF token in the form would spool the chunk to disk.
        query = read_query(request)
        self.initiates = query.get("initiate", "").lower() == "true"
        if (kwargs.get("session_id") or query.get("uid")) and not self.initiates:
            request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # noqa: SLF001
        return super().initialize_request(request, *args, **kwargs)

    @property
    def is_capability(self) -> bool:
        """Tell whether knowing the session is enough, so that a token that ran out does not matter."""
        return conf.current().LOCATION_AUTH == "capability" and not self.initiates

    def get_authenticators(self) -> Any:
        return [] if self.is_capability else super().get_authenticators()

    def get_permissions(self) -> Any:
        open_to_all = self.request.method == "OPTIONS" or self.is_capability
        return [AllowAny()] if open_to_all else super().get_permissions()

    def find(self, session_id: str) -> UploadSession:
        """Return the caller's session; a foreign one does not exist for him."""
        visible = UploadSession.objects.all()
        if conf.current().LOCATION_AUTH == "owner":
            visible = visible.of(self.request.user)
        try:
            return visible.get(pk=uuid.UUID(hex=session_id))
        except (UploadSession.DoesNotExist, ValueError) as error:
            raise SessionNotFound from error

    def look(self, session_id: str) -> UploadSession:
        """Return the session; who asks for it may be about to go on, so a silent holder begins to let go."""
        session = sessions.alive(self.find(session_id))
        sessions.ask(session, wait=False)
        return session

    def store(self, session_id: str) -> UploadSession:
        """Store the chunk that comes next and return its session."""
        session = self.find(session_id)
        self.turn.take(session.owner_key)
        return sessions.receive(session, read_chunk(self.request))

    def store_numbered(self, session_id: str) -> UploadSession:
        """Store the chunk whose number the query says and return its session."""
        session, number = self.find(session_id), read_chunk_number(self.request)
        self.turn.take(session.owner_key)
        return sessions.receive_numbered(session, read_chunk(self.request), number)

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        return Response()


class SessionViewSet(SessionView):
    """The REST routes of one session; the folder in the path is not looked at."""

    def retrieve(self, request: Request, session_id: str, **_: str) -> Response:
        """Tell the session's state; ``bytes_uploaded`` is where to continue."""
        return enveloped(session_data(self.look(session_id), request))

    def receive(self, request: Request, session_id: str, **_: str) -> Response:
        """Store the next chunk: 200, or 201 with the file after the last byte."""
        return self._progress(self.store(session_id))

    def receive_numbered(self, request: Request, session_id: str, **_: str) -> Response:
        """Store the chunk ``chunkNumber``; the same number again replaces it."""
        return enveloped(progress_data(self.store_numbered(session_id), request))

    def finalize(self, request: Request, session_id: str, **_: str) -> Response:
        """Complete the file: 201, or 409 naming the chunks that are missing."""
        return self._progress(sessions.finalize(self.find(session_id), conf.current().rules))

    def destroy(self, request: Request, session_id: str, **_: str) -> Response:
        """End the session without a file."""
        sessions.abort(self.find(session_id), who=owners.key_of(self.request.user))
        return nothing()

    def _progress(self, session: UploadSession) -> Response:
        status = progress_status(session)
        data = file_data(session, self.request) if status == 201 else chunk_data(session)
        if status == 201:
            data["providerKey"] = data.pop("provider_key")
        return with_progress(enveloped(data, status=status), session)


class LocationViewSet(SessionView):
    """``ChunkedUploader.ashx``: everything about one session at one URL, told apart by the query."""

    def dispatch_post(self, request: Request, **_: str) -> Response:
        """Store a chunk, in order or numbered; finalize, abort or initiate a session."""
        query = read_query(request)
        for name in ("initiate", "abort", "finalize", "upload"):
            if query.get(name, "").lower() == "true":
                handler: Callable[[Request], Response] = getattr(self, name)
                return handler(request)
        return self.upload(request) if "chunknumber" in query else self.receive(request)

    def receive(self, request: Request) -> Response:
        return self._progress(self.store(self._uid()))

    def upload(self, request: Request) -> Response:
        return plain(progress_data(self.store_numbered(self._uid()), request))

    def finalize(self, request: Request) -> Response:
        return self._progress(sessions.finalize(self.find(self._uid()), conf.current().rules))

    def abort(self, request: Request) -> Response:
        sessions.abort(self.find(self._uid()), who=owners.key_of(self.request.user))
        return plain(None)

    def initiate(self, request: Request) -> Response:
        fields = InitiateRequest(data=read_query(request))
        fields.is_valid(raise_exception=True)
        location_url(request)
        session = sessions.create(self.user, fields.validated_data["folderid"], fields.file_request())
        return plain(session_data(session, request))

    def retrieve(self, request: Request, **_: str) -> Response:
        """Tell the session's state; ``bytes_uploaded`` is where to continue."""
        session = self.look(self._uid())
        return with_progress(plain(session_data(session, request)), session)

    def _uid(self) -> str:
        uid = read_query(self.request).get("uid")
        if not uid:
            msg = "The location has no uid."
            raise InvalidRequest(msg)
        return uid

    def _progress(self, session: UploadSession) -> Response:
        status = progress_status(session)
        data = (file_data if status == 201 else progress_data)(session, self.request)
        return with_progress(plain(data, status=status), session)


def _edit(user: AbstractBaseUser, file_id: str, size: int, **options: bool) -> UploadSession:
    return sessions.create_edit(user, file_id, size, rules=conf.current().rules, **options)


def _cleaned(title: str) -> str | None:
    try:
        return names.clean(title, conf.LONGEST_TITLE)
    except InvalidName:
        return None
