"""The endpoints of the upload protocol."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, cast

from django.contrib.auth.models import AbstractBaseUser
from django.http import HttpRequest
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from uploads import conf, sessions
from uploads.api import errors
from uploads.api.body import read_chunk, read_fields
from uploads.api.responses import enveloped, plain, progress, session_data
from uploads.api.serializers import SessionRequest
from uploads.exceptions import InvalidRequest, SessionNotFound
from uploads.models import UploadSession


class JSONAlways(BaseContentNegotiation):
    """Answer JSON whatever the client accepts: clients of the protocol send all kinds of Accept headers."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class IsAuthenticatedOrCapability(IsAuthenticated):
    """Let anybody in who knows a location, where the portal has chosen ``LOCATION_AUTH = "capability"``."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return conf.current().LOCATION_AUTH == "capability" or super().has_permission(request, view)


class UploadView(ViewSet):
    """What all endpoints share. The host's authenticators apply; everything else is the protocol's."""

    permission_classes: tuple[type[BasePermission], ...] = (IsAuthenticated,)
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = JSONAlways

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response | None]:
        return errors.handle


class SessionViewSet(UploadView):
    """Open upload sessions."""

    def create(self, request: Request, folder_id: str) -> Response:
        """Open a session for a file in the folder; send its chunks to the ``location`` it answers."""
        fields = SessionRequest(data=read_fields(request))
        fields.is_valid(raise_exception=True)
        session = sessions.create(_user(request), folder_id, fields.file_request())
        data = session_data(session, request)
        return enveloped({"success": True, "data": data}, success=True, data=data)


class LocationViewSet(UploadView):
    """Receive the chunks of one session, in order, and tell its state."""

    permission_classes = (IsAuthenticatedOrCapability,)

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # The uid is unguessable, so a forged request cannot name a session; and looking for a
        # CSRF token in the form would spool the chunk to disk.
        request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # noqa: SLF001
        return super().initialize_request(request, *args, **kwargs)

    def receive(self, request: Request, **_: Any) -> Response:
        """Store a chunk: 200 with the session, or 201 with the file after the last byte."""
        session = sessions.receive(self.get_session(), read_chunk(request))
        return progress(session, request)

    def retrieve(self, request: Request, **_: Any) -> Response:
        """Tell the session's state; ``bytes_uploaded`` is where to continue."""
        return plain(session_data(self.get_session(), request))

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        return Response()

    def get_session(self) -> UploadSession:
        """Return the caller's session; a foreign one does not exist for him."""
        visible = UploadSession.objects.all()
        if conf.current().LOCATION_AUTH == "owner":
            visible = visible.filter(owner=self.request.user.pk)
        try:
            return visible.get(pk=self._uid())
        except UploadSession.DoesNotExist as error:
            raise SessionNotFound from error

    def _uid(self) -> uuid.UUID:
        uid = str({name.lower(): value for name, value in self.request.query_params.items()}.get("uid", ""))
        if not uid:
            msg = "The location has no uid."
            raise InvalidRequest(msg)
        try:
            return uuid.UUID(hex=uid)
        except ValueError as error:
            raise SessionNotFound from error


def _user(request: Request) -> AbstractBaseUser:
    """Return who calls; the permissions have seen to it that it is somebody."""
    return cast("AbstractBaseUser", request.user)
