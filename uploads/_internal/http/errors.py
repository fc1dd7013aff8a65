"""Errors of ours, of DRF and of Django, as what they mean for an upload; each door has its own words for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import DataError, InterfaceError, InternalError, OperationalError
from django.http import Http404
from rest_framework.exceptions import APIException, AuthenticationFailed, NotAuthenticated, ValidationError
from rest_framework.response import Response
from rest_framework.views import set_rollback

from uploads._internal.http.exceptions import DatabaseUnavailable, Unauthenticated
from uploads.exceptions import CompletionFailed, Forbidden, InvalidRequest, NotFound, SessionNotFound, UploadError
from uploads.models import UploadSession

PROBLEM = "application/problem+json"
UNPROCESSABLE = 422


def as_upload_error(error: Exception) -> UploadError | None:
    """Return what ``error`` means, or None if it is no business of ours."""
    match error:
        case UploadError():
            return error
        case NotAuthenticated():
            return Unauthenticated()
        case AuthenticationFailed():
            detail = error.detail  # simplejwt's is a dictionary that has the text under this name
            return Unauthenticated(first_text(detail.get("detail", detail) if isinstance(detail, dict) else detail))
        case ValidationError():
            return InvalidRequest(first_text(error.detail))
        case DataError():  # what PostgreSQL says of a NUL in a token or name
            return InvalidRequest()
        case OperationalError() | InterfaceError() | InternalError():  # the last of a database that became read-only
            return DatabaseUnavailable()
        case UploadSession.DoesNotExist():
            return SessionNotFound()
        case PermissionDenied():
            return Forbidden()
        case Http404():
            return NotFound()
    return None


def respond(error: UploadError, body: Any, cause: Exception) -> Response:
    """Answer ``error`` with a door's ``body``: its status, and the headers that go with it whatever the door."""
    set_rollback()  # As DRF's own handler does, for a portal that uses this one for its other views.
    response = Response(body, error.status)
    if error.wait is not None:
        response["Retry-After"] = str(error.wait)
    if error.status == 401:
        response["WWW-Authenticate"] = getattr(cause, "auth_header", None) or "Bearer"
    return response


def respond_to_framework(error: APIException, body: Any) -> Response:
    """Answer an error of REST framework's own that means nothing for an upload: a throttle's, a wrong method."""
    set_rollback()
    response = Response(body, error.status_code)
    wait = getattr(error, "wait", None)
    if wait is not None:  # A throttle knows when.
        response["Retry-After"] = str(int(wait) + 1)
    return response


def first_text(detail: Any) -> str:
    """Return the first message of DRF's nested details, after the name of its field."""
    if isinstance(detail, dict):
        name, inner = next(iter(detail.items()))
        return f"{name}: {first_text(inner)}"
    if isinstance(detail, list):
        return first_text(detail[0])
    return str(detail)


def problem(error: Exception, kinds: Mapping[type[UploadError], str] | None = None) -> Response | None:
    """Return the answer to an error of ours, of DRF or of Django as a problem (RFC 9457), None for any other.

    ``kinds`` are the types of problems that a door's standard names.
    """
    known = as_upload_error(error)
    if known is not None:
        # With 409 a client of these doors would ask where to go on; nowhere.
        status = UNPROCESSABLE if isinstance(known, CompletionFailed) else known.status
        kind = (kinds or {}).get(type(known), "about:blank")
        body = {"type": kind, "title": str(known), "status": status, "code": known.code}
        return _as_problem(respond(known, body, error), status)
    if isinstance(error, APIException):
        status, title, code = error.status_code, first_text(error.detail), str(error.default_code)
        body = {"type": "about:blank", "title": title, "status": status, "code": code}
        return _as_problem(respond_to_framework(error, body), status)
    return None


def _as_problem(response: Response, status: int) -> Response:
    response.status_code = status
    response.content_type = PROBLEM
    return response
