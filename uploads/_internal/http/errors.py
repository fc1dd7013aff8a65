"""Translate errors of this app, DRF and Django into upload errors.

Each protocol formats them in its own way.
"""

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
    """Return the upload error for ``error``, or None if it is unrelated to uploads."""
    match error:
        case UploadError():
            return error
        case NotAuthenticated():
            return Unauthenticated()
        case AuthenticationFailed():
            detail = error.detail  # simplejwt's detail is a dictionary with the text under this name
            return Unauthenticated(first_text(detail.get("detail", detail) if isinstance(detail, dict) else detail))
        case ValidationError():
            return InvalidRequest(first_text(error.detail))
        case DataError():  # PostgreSQL's error for a NUL in a token or name
            return InvalidRequest()
        case OperationalError() | InterfaceError() | InternalError():  # InternalError: the database became read-only
            return DatabaseUnavailable()
        case UploadSession.DoesNotExist():
            return SessionNotFound()
        case PermissionDenied():
            return Forbidden()
        case Http404():
            return NotFound()
    return None


def respond(error: UploadError, body: Any, cause: Exception) -> Response:
    """Return the response to ``error`` with a protocol's ``body``.

    Status and headers are the same for all protocols.
    """
    set_rollback()  # DRF's own handler does the same, and a portal may use this one for its other views.
    response = Response(body, error.status)
    if error.wait is not None:
        response["Retry-After"] = str(error.wait)
    if error.status == 401:
        response["WWW-Authenticate"] = getattr(cause, "auth_header", "Session")
    return response


def respond_to_framework(error: APIException, body: Any) -> Response:
    """Return the response to a REST framework error without an equivalent upload error.

    Examples are a throttled request and a wrong method.
    """
    set_rollback()
    response = Response(body, error.status_code)
    wait = getattr(error, "wait", None)
    if wait is not None:  # Throttles set it.
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
    """Return an error as a problem (RFC 9457), or None if it is unknown.

    Errors of this app, of DRF and of Django are known. ``kinds`` maps errors to the problem types that a protocol's
    standard names.
    """
    known = as_upload_error(error)
    if known is not None:
        # After a 409, a client of these protocols would ask for the offset to resume at. There is none.
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
