"""The REST framework base of all protocols: authentication, slots, body handling and logging."""

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
from rest_framework.permissions import SAFE_METHODS, AllowAny, BasePermission, IsAuthenticated
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.viewsets import ViewSet

from uploads import signals
from uploads._internal import conf, owners, sessions, tracing
from uploads._internal.causes import cause_of
from uploads._internal.conf import DEFAULT_ALIAS
from uploads._internal.http.body import django_request, drain, has_unread_body, leave_unread, require_body
from uploads._internal.http.deadline import declared_length
from uploads._internal.http.errors import as_upload_error
from uploads._internal.http.exceptions import DatabaseUnavailable
from uploads._internal.http.metadata import FOLDERS, first_value
from uploads._internal.http.probes import SYNC_WORKER, is_sync_worker
from uploads._internal.http.slots import RequestSlot
from uploads._internal.sessions import FileRequest
from uploads._internal.sessions.states import note_refusal
from uploads.destinations import destination_of
from uploads.destinations.base import caller_scope, set_caller
from uploads.exceptions import SessionNotFound
from uploads.models import State, UploadSession, UploadSessionQuerySet

logger = logging.getLogger(__name__)

RETRY_COMPLETION_AFTER = 5
"""Seconds after which a client may ask again for a file that is still being completed."""


def file_status(session: UploadSession, completed: int = 201) -> int:
    """Return the status after all bytes: ``completed``, or 202 while the file is being completed.

    Raises the error that prevents the file.
    """
    sessions.require_no_failure(session)
    return completed if session.state == State.COMPLETED else 202


def exempt_from_csrf(request: HttpRequest) -> None:
    """Skip the CSRF check of a request that cannot be forged.

    Looking for a token in a form would spool the form to disk. The request names a session by its unguessable id, or it
    has a special header or content type. Pages of other origins can send those only with the portal's permission.
    """
    request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # noqa: SLF001 - REST framework's own way


def is_from_page(request: HttpRequest) -> bool:
    """Return whether a browser sends the request for a page."""
    return any(name in request.headers for name in ("Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode"))


def get_or_404(sessions: UploadSessionQuerySet, session_id: str) -> UploadSession:
    """Return the session that a URL names; raise SessionNotFound."""
    try:
        return sessions.get(pk=uuid.UUID(hex=session_id))
    except (UploadSession.DoesNotExist, ValueError) as error:
        raise SessionNotFound from error


def _printable(text: str) -> str:
    """Return a client's text as one line of a log."""
    return text.encode("unicode_escape").decode("ascii")


class JSONAlways(BaseContentNegotiation):
    """Always answer JSON, because clients of the protocol send all kinds of Accept headers."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class NothingParsed(BaseParser):
    """Leave the body to the view.

    DRF would parse it for a CSRF token, and it can be read only once.
    """

    media_type = "*/*"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> DataAndFiles[Any, Any]:
        return DataAndFiles(QueryDict(), MultiValueDict())


class UploadView(ViewSet):
    """Base of all endpoints. The host's authenticators apply; everything else belongs to the protocol."""

    permission_classes: Sequence[type[BasePermission]] = (IsAuthenticated,)
    renderer_classes = (JSONRenderer,)
    parser_classes = (NothingParsed,)
    content_negotiation_class = JSONAlways
    versioning_class = None  # The protocol has its version in its path, so the host's versioning does not apply.
    scope = "uploads"
    protocol = ""
    """The name of the protocol, for signals."""
    refusal_code = ""
    """The code of the error, once the request is refused."""
    named_session: UploadSession | None = None
    """The session of the request, once it is found."""
    named_file: str = ""
    """The name of the file that the request begins, once it is known."""
    _ignore_model_permissions = True  # REST framework's switch: model permissions do not apply here.

    @classmethod
    def as_view(cls, *args: Any, **kwargs: Any) -> Any:
        # A response must report only committed state, so ATOMIC_REQUESTS does not apply.
        view = super().as_view(*args, **kwargs)
        view._non_atomic_requests = frozenset(connections)  # type: ignore[attr-defined]  # noqa: SLF001
        return view

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        """Return the allowed methods to any client: a browser asks before it sends the user's credentials."""
        return Response()

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.slot = RequestSlot()
        status = 500  # of an error that no handler knows
        name = "receive" if request.method in ("POST", "PUT", "PATCH") else "request"
        with tracing.span(name, protocol=self.protocol, method=request.method) as attributes:
            try:
                with caller_scope():
                    response = super().dispatch(request, *args, **kwargs)
                status = response.status_code
                return response
            except Exception:  # Whichever handler responds, the client must be able to read the response.
                self._drain(request)
                raise
            finally:
                self.slot.release()  # Only now is the rest of the body read, too.
                attributes |= {"status": status, "code": self.refusal_code}
                if self.named_session:
                    attributes["session"] = self.named_session.pk.hex
                if signals.request_finished.receivers:
                    self._report(request.method or "", status)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method not in SAFE_METHODS:
            require_body(request)
            sessions.require_no_transaction()
        super().initial(request, *args, **kwargs)
        if request.method not in SAFE_METHODS:
            self.acquire_slot(request)
        set_caller(request)

    def acquire_slot(self, request: Request) -> None:
        """Acquire the slot for reading the body; raise TooManyRequests."""
        if request.user.is_authenticated:
            self.slot.acquire(owners.key_of(request.user))

    @property
    def throttle_scope(self) -> str | None:
        """Return the scope for DRF's ScopedRateThrottle if the portal has set its rate."""
        return self.scope if self.scope in (api_settings.DEFAULT_THROTTLE_RATES or {}) else None

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        self._drain(django_request(request))
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer["Cache-Control"] = "no-store"
        if request.method == "HEAD":
            answer.data = None  # Not all servers omit the body themselves.
        if is_sync_worker(django_request(request).META):
            answer[SYNC_WORKER] = "1"
        return answer

    def _report(self, method: str, status: int) -> None:
        signals.request_finished.send_robust(
            type(self),
            protocol=self.protocol,
            method=method,
            status=status,
            code=self.refusal_code,
            session=self.named_session,
            file_name=self.named_file,
            owner_key=self._owner_key() or "",
        )

    def _owner_key(self) -> str | None:
        """Return the key of the user, or None before the request is authenticated."""
        user = getattr(self.request, "_user", None)
        return owners.key_of(user) if user is not None and user.is_authenticated else None

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        self._log_refusal(exc, response)
        return response

    def _log_refusal(self, error: Exception, response: Response) -> None:
        """Log a refused request in one line.

        The line has the error that the user will quote, and the data that the operator needs to find it.
        """
        request, session = django_request(self.request), self.named_session
        known = as_upload_error(error)
        self.refusal_code = known.code if known else getattr(error, "default_code", type(error).__name__)
        about = f"session {session.label}" if session else f"file {self.named_file!r}"
        sizes = f"{session.bytes_stored} of {session.file_size} bytes stored, " if session else ""
        logger.warning(
            "refused: %s %s, %s %s, user %s, %s, %sbody of %s bytes: %s%s",
            response.status_code,
            self.refusal_code,
            request.method,
            _printable(request.path),
            self._owner_key() or "nobody",
            about,
            sizes,
            "unknown" if declared_length(request) is None else declared_length(request),
            _printable(str(known or error)),
            f" ({_printable(cause_of(error))})" if known is not error or error.__cause__ else "",
        )
        response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001 - Django's own flag: its line says less
        if session and not isinstance(known, DatabaseUnavailable):
            note_refusal(session, self.refusal_code, str(known or error), self._owner_key() or "")

    def _drain(self, request: HttpRequest) -> None:
        """Read the rest of the body in the request's slot, or in one for refused requests."""
        if request.method in SAFE_METHODS or not has_unread_body(request):
            return
        if self.slot.acquire_to_drain():
            drain(request, patiently=bool(self.named_session or self.named_file))
        else:
            leave_unread(request)

    def get_authenticators(self) -> Any:
        return [] if getattr(self.request, "method", "") == "OPTIONS" else super().get_authenticators()

    def get_authenticate_header(self, request: Request) -> str:
        """Return the challenges of all schemes, so that a client can choose.

        A page's script gets none for Basic, because the browser would ask for a password. Logged in by a form only, a
        portal has no scheme.
        """
        schemes = [scheme.authenticate_header(request) for scheme in self.get_authenticators()]
        challenges = dict.fromkeys(str(scheme) for scheme in schemes if scheme)
        if is_from_page(django_request(request)):
            challenges = {name: None for name in challenges if not name.lower().startswith("basic")}
        return ", ".join(challenges) or "Session"

    def get_permissions(self) -> Any:
        if getattr(self.request, "method", "") == "OPTIONS":  # The generator of a schema has no request.
            return [AllowAny()]
        # Permissions that a portal demands for all views (a second factor, a tenant) apply here, too.
        named = conf.current().PERMISSION_CLASSES
        demanded: Any = api_settings.DEFAULT_PERMISSION_CLASSES if named is None else map(import_string, named)
        return [permission() for permission in (*self.permission_classes, *demanded)]

    @property
    def destination(self) -> str:
        """Return the alias in the URL: a path parameter or an argument of ``include``."""
        return str(self.kwargs.get("destination", DEFAULT_ALIAS))

    def open(self, folder_id: str, file: FileRequest) -> UploadSession:
        """Open a session for the file at the destination of the URL."""
        self.named_file = file.name
        create = sessions.concatenate if file.partials else sessions.create
        return create(self.user, folder_id, replace(file, destination=self.destination))

    def folder_of(self, file: FileRequest) -> str:
        """Return the folder of the URL, else the client's; empty if neither names one."""
        return str(self.kwargs.get("folder_id") or first_value(file.metadata, FOLDERS))

    def file_url(self, session: UploadSession) -> str | None:
        """Return the file's URL, or None until the file exists and has one."""
        url = (session.result or {}).get("url")
        return self.request.build_absolute_uri(url) if url else None

    def end(self, session_id: str) -> None:
        """End the user's session. The destination decides about the file of a completed session."""
        session = self.find(session_id)
        if session.state == State.COMPLETED:
            destination_of(session).withdraw(session)
        else:
            self.abort_session(session)

    def abort_session(self, session: UploadSession) -> None:
        """End an unfinished session for its client, unless the destination vetoes that."""
        destination_of(session).accept_abort(self.user, session)
        sessions.abort(session, who=owners.key_of(self.user))

    def find(self, session_id: str) -> UploadSession:
        """Return the user's session; a session of another user raises SessionNotFound."""
        session = self.named_session = get_or_404(UploadSession.objects.of(self.request.user), session_id)
        return session

    @property
    def user(self) -> AbstractBaseUser:
        """Return the user; the permissions have refused anonymous requests."""
        return cast("AbstractBaseUser", self.request.user)
