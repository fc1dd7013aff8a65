"""What every door needs of REST framework and no dialect says: who calls, how the body is treated, when it is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django.contrib.auth.models import AbstractBaseUser
from django.db import connections
from django.http import HttpRequest, HttpResponseBase, QueryDict
from django.utils.datastructures import MultiValueDict
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser, DataAndFiles
from rest_framework.permissions import SAFE_METHODS, BasePermission, IsAuthenticated
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.viewsets import ViewSet

from uploads import sessions
from uploads.exceptions import TooManyRequests
from uploads.http.body import drain, require_body
from uploads.http.turns import Turn


class JSONAlways(BaseContentNegotiation):
    """Answer JSON whatever the client accepts: clients of the protocol send all kinds of Accept headers."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class NothingParsed(BaseParser):
    """Leave the body to the view: DRF would parse it for a CSRF token, and it can be read only once."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> DataAndFiles[Any, Any]:
        return DataAndFiles(QueryDict(), MultiValueDict())


class UploadView(ViewSet):
    """What all endpoints share. The host's authenticators apply; everything else is the protocol's."""

    permission_classes: Sequence[type[BasePermission]] = (IsAuthenticated,)
    renderer_classes = (JSONRenderer,)
    parser_classes = (NothingParsed,)
    content_negotiation_class = JSONAlways
    versioning_class = None  # The protocol has its version in its path, and the host's are not for it.
    scope = "uploads"

    @classmethod
    def as_view(cls, *args: Any, **kwargs: Any) -> Any:
        # What is answered must be committed: ATOMIC_REQUESTS is for other views.
        view = super().as_view(*args, **kwargs)
        view._non_atomic_requests = frozenset(connections)  # type: ignore[attr-defined]  # noqa: SLF001
        return view

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.turn = Turn()
        try:
            return super().dispatch(request, *args, **kwargs)
        finally:
            self.turn.end()  # Only now what was left of the body is read, too.

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method not in SAFE_METHODS:
            require_body(request)
            sessions.require_no_transaction()
        super().initial(request, *args, **kwargs)

    @property
    def throttle_scope(self) -> str | None:
        """Return the scope for DRF's ScopedRateThrottle where the portal has set a rate for it."""
        return self.scope if self.scope in (api_settings.DEFAULT_THROTTLE_RATES or {}) else None

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if request.method not in SAFE_METHODS:
            user = getattr(request, "_user", None)
            welcome = user is not None and user.is_authenticated and response.status_code != TooManyRequests.status
            drain(request, patiently=welcome)
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer["Cache-Control"] = "no-store"
        return answer

    def get_permissions(self) -> Any:
        # What a portal demands of all its views (a second factor, a tenant) holds here, too.
        demanded: Any = api_settings.DEFAULT_PERMISSION_CLASSES
        return [permission() for permission in (*self.permission_classes, *demanded)]

    @property
    def user(self) -> AbstractBaseUser:
        """Return who calls; the permissions have seen to it that it is somebody."""
        return cast("AbstractBaseUser", self.request.user)
