"""Errors on the wire: the real HTTP status, and a body that clients of either dialect understand."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework.exceptions import APIException, AuthenticationFailed, NotAuthenticated, ValidationError
from rest_framework.response import Response
from rest_framework.views import set_rollback

from uploads.exceptions import (
    DatabaseUnavailable,
    Forbidden,
    InvalidRequest,
    NotFound,
    SessionNotFound,
    Unauthenticated,
    UploadError,
)
from uploads.models import UploadSession

logger = logging.getLogger(__name__)


FIELDS = {
    "filename": "FileName",
    "filesize": "FileSize",
    "relativepath": "RelativePath",
    "createon": "CreateOn",
    "createnewifexist": "CreateNewIfExist",
    "encrypted": "Encrypted",
    "filestitle": "filesTitle",
}
"""Fields as the documentation writes them; they are looked up in lower case."""


def body(message: str, code: str, status: int, details: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the error in both dialects: ``success``/``message`` and the API's ``error`` object.

    ``stack`` and ``hresult`` are there because one client's schema demands them; ``details`` has the numbers
    of the message for programs.
    """
    return {
        "success": False,
        "message": message,
        "error": {"message": message, "type": code, "stack": "", "hresult": 0, "details": details or {}},
        "status": 1,
        "statusCode": status,
    }


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer an error of ours, of DRF or of Django; None leaves any other to Django."""
    domain = _as_upload_error(error)
    if domain is not None:
        set_rollback()  # As DRF's own handler does, for a portal that uses this one for its other views.
        response = _respond(domain)
        if domain.status == 401:
            response["WWW-Authenticate"] = getattr(error, "auth_header", None) or "Bearer"
        return response
    if isinstance(error, APIException):
        set_rollback()
        code = error.default_code
        response = Response(body(_first_text(error.detail), code, error.status_code), error.status_code)
        wait = getattr(error, "wait", None)
        if wait is not None:  # A throttle knows when.
            response["Retry-After"] = str(int(wait) + 1)
        return response
    return None


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer JSON to unknown paths of the API, a page to others: ``handler404`` of the portal's URLconf."""
    if request.path_info.lower().startswith("/api/2.0"):
        return JsonResponse(body(NotFound.text, NotFound.code, 404), status=404)
    return defaults.page_not_found(request, exception)


def _as_upload_error(error: Exception) -> UploadError | None:
    match error:
        case UploadError():
            return error
        case NotAuthenticated():
            return Unauthenticated()
        case AuthenticationFailed():
            return Unauthenticated(str(error.detail))
        case ValidationError():
            return InvalidRequest(_first_text(error.detail))
        case DataError():  # what PostgreSQL says of a NUL in a token or name
            return InvalidRequest()
        case OperationalError() | InterfaceError():
            return DatabaseUnavailable()
        case UploadSession.DoesNotExist():
            return SessionNotFound()
        case PermissionDenied():
            return Forbidden()
        case Http404():
            return NotFound()
    return None


def _respond(error: UploadError) -> Response:
    if error.status >= 500:
        logger.warning("%s: %s", error.code, error, exc_info=error.__cause__)
    response = Response(body(str(error), error.code, error.status, error.context), error.status)
    if error.wait is not None:
        response["Retry-After"] = str(error.wait)
    return response


def _first_text(detail: Any) -> str:
    """Return the first message of DRF's nested details, after the name of its field."""
    if isinstance(detail, dict):
        name, inner = next(iter(detail.items()))
        return f"{FIELDS.get(name, name)}: {_first_text(inner)}"
    if isinstance(detail, list):
        return _first_text(detail[0])
    return str(detail)
