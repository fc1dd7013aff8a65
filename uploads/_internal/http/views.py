"""What every door needs of REST framework and no dialect says: who calls, how the body is treated, when it is over."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from django.contrib.auth.models import AbstractBaseUser
from django.db import connections
from django.http import HttpRequest, HttpResponseBase, QueryDict
from django.utils.datastructures import MultiValueDict
from django.utils.module_loading import import_string
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser, DataAndFiles
from rest_framework.permissions import SAFE_METHODS, BasePermission, IsAuthenticated
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.viewsets import ViewSet

from uploads._internal import conf, owners, sessions
from uploads._internal.causes import cause_of
from uploads._internal.conf import DEFAULT_ALIAS
from uploads._internal.http.body import below, drain, has_unread_body, leave_unread, require_body
from uploads._internal.http.deadline import declared_length
from uploads._internal.http.errors import as_upload_error
from uploads._internal.http.metadata import FOLDERS, first_value
from uploads._internal.http.slots import RequestSlot
from uploads._internal.sessions import FileRequest
from uploads.destinations import destination_of
from uploads.destinations.base import answering, called_by
from uploads.exceptions import SessionNotFound
from uploads.models import State, UploadSession, UploadSessionQuerySet

logger = logging.getLogger(__name__)

RETRY_COMPLETION_AFTER = 5
"""Seconds after which a client may ask again for a file that is still being completed."""


def file_status(session: UploadSession, completed: int = 201) -> int:
    """Return the status that answers for all bytes: ``completed``, or 202 while the file is being completed.

    Raises the error that says why there will be no file.
    """
    sessions.require_no_failure(session)
    return completed if session.state == State.COMPLETED else 202


def exempt_from_csrf(request: HttpRequest) -> None:
    """Look for no CSRF token in a request that cannot be forged; to look for one in a form would spool it to disk.

    It names a session by its unguessable id, or has a header or a type that pages of other origins cannot send unless
    the portal lets them.
    """
    request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # noqa: SLF001 - REST framework's own way


def get_or_404(sessions: UploadSessionQuerySet, session_id: str) -> UploadSession:
    """Return the one of ``sessions`` that a URL names; raise SessionNotFound."""
    try:
        return sessions.get(pk=uuid.UUID(hex=session_id))
    except (UploadSession.DoesNotExist, ValueError) as error:
        raise SessionNotFound from error


def _printable(text: str) -> str:
    """Return text of a client's as one line of a log."""
    return text.encode("unicode_escape").decode("ascii")


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
    named_session: UploadSession | None = None
    """The session of the request, once it is found."""
    named_file: str = ""
    """The name of the file that the request is to begin, once it is known."""
    _ignore_model_permissions = True  # REST framework's switch: permissions of a model's rows mean nothing here.

    @classmethod
    def as_view(cls, *args: Any, **kwargs: Any) -> Any:
        # What is answered must be committed: ATOMIC_REQUESTS is for other views.
        view = super().as_view(*args, **kwargs)
        view._non_atomic_requests = frozenset(connections)  # type: ignore[attr-defined]  # noqa: SLF001
        return view

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.slot = RequestSlot()
        try:
            with answering():
                return super().dispatch(request, *args, **kwargs)
        except Exception:  # Whoever answers it, the client must be able to read the answer.
            self._drain(request)
            raise
        finally:
            self.slot.release()  # Only now what was left of the body is read, too.

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method not in SAFE_METHODS:
            require_body(request)
            sessions.require_no_transaction()
        super().initial(request, *args, **kwargs)
        if request.method not in SAFE_METHODS:
            self.acquire_slot(request)
        called_by(request)

    def acquire_slot(self, request: Request) -> None:
        """Acquire the slot in which the body is read; raise TooManyRequests."""
        if request.user.is_authenticated:
            self.slot.acquire(owners.key_of(request.user))

    @property
    def throttle_scope(self) -> str | None:
        """Return the scope for DRF's ScopedRateThrottle where the portal has set a rate for it."""
        return self.scope if self.scope in (api_settings.DEFAULT_THROTTLE_RATES or {}) else None

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        self._drain(below(request))
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer["Cache-Control"] = "no-store"
        return answer

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        self._log_refusal(exc, response)
        return response

    def _log_refusal(self, error: Exception, response: Response) -> None:
        """Log a refused request in one line: what the user will quote, and what the operator needs to find it."""
        request, session = below(self.request), self.named_session
        known = as_upload_error(error)
        user = getattr(self.request, "_user", None)
        about = f"session {session.pk} {session.file_name!r}" if session else f"file {self.named_file!r}"
        sizes = f"{session.bytes_stored} of {session.file_size} bytes stored, " if session else ""
        logger.warning(
            "refused: %s %s, %s %s, user %s, %s, %sbody of %s bytes: %s%s",
            response.status_code,
            known.code if known else getattr(error, "default_code", type(error).__name__),
            request.method,
            _printable(request.path),
            owners.key_of(user) if user is not None and user.is_authenticated else "nobody",
            about,
            sizes,
            "unknown" if declared_length(request) is None else declared_length(request),
            _printable(str(known or error)),
            f" ({_printable(cause_of(error))})" if known is not error or error.__cause__ else "",
        )
        response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001 - Django's own mark: its line says less

    def _drain(self, request: HttpRequest) -> None:
        """Read what is left of the body if the request has a slot or gets one of those for refused requests."""
        if request.method in SAFE_METHODS or not has_unread_body(request):
            return
        if self.slot.acquire_to_drain():
            drain(request, patiently=bool(self.named_session or self.named_file))
        else:
            leave_unread(request)

    def get_permissions(self) -> Any:
        # What a portal demands of all its views (a second factor, a tenant) holds here, too.
        named = conf.current().PERMISSION_CLASSES
        demanded: Any = api_settings.DEFAULT_PERMISSION_CLASSES if named is None else map(import_string, named)
        return [permission() for permission in (*self.permission_classes, *demanded)]

    @property
    def destination(self) -> str:
        """Return the alias that the URL names, by a parameter or by what was given along to ``include``."""
        return str(self.kwargs.get("destination", DEFAULT_ALIAS))

    def open(self, folder_id: str, file: FileRequest) -> UploadSession:
        """Open a session for the file at the destination of the URL."""
        self.named_file = file.name
        return sessions.create(self.user, folder_id, replace(file, destination=self.destination))

    def folder_of(self, file: FileRequest) -> str:
        """Return the folder that the URL names, or the client; empty if neither does."""
        return str(self.kwargs.get("folder_id") or first_value(file.metadata, FOLDERS))

    def file_url(self, session: UploadSession) -> str | None:
        """Return the URL of the file that the session has become, if it is there and the portal told."""
        url = (session.result or {}).get("url")
        return self.request.build_absolute_uri(url) if url else None

    def end(self, session_id: str) -> None:
        """End the caller's session. What becomes of the file of a finished one is the destination's to say."""
        session = self.find(session_id)
        if session.state == State.COMPLETED:
            destination_of(session).withdraw(session)
        else:
            sessions.abort(session, who=owners.key_of(self.request.user))

    def find(self, session_id: str) -> UploadSession:
        """Return the caller's session; a foreign one does not exist for the caller."""
        session = self.named_session = get_or_404(UploadSession.objects.of(self.request.user), session_id)
        return session

    @property
    def user(self) -> AbstractBaseUser:
        """Return who calls; the permissions have seen to it that it is somebody."""
        return cast("AbstractBaseUser", self.request.user)
