"""Error responses: the real HTTP status, and a body for clients of both dialects."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response

from uploads._internal.http.errors import as_upload_error, first_text, respond, respond_to_framework
from uploads._internal.protocols.onlyoffice.answers import Error
from uploads.exceptions import NotFound

FIELDS = {
    "filename": "FileName",
    "filesize": "FileSize",
    "relativepath": "RelativePath",
    "createon": "CreateOn",
    "createnewifexist": "CreateNewIfExist",
    "encrypted": "Encrypted",
    "filestitle": "filesTitle",
}
"""Field names as documented. Requests are matched in lower case."""


def body(message: str, code: str, status: int, details: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the error in both dialects; ``details`` has the numbers of the message for programs."""
    detail = {"message": message, "type": code, "stack": "", "hresult": 0, "details": details or {}}
    payload = {"success": False, "message": message, "error": detail, "status": 1, "statusCode": status}
    return dict(Error(payload).data)


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """Return the response to an error of this app, DRF or Django.

    None leaves any other error to Django.
    """
    domain = as_upload_error(error)
    if domain is not None:
        message = _documented(str(domain)) if isinstance(error, ValidationError) else str(domain)
        return respond(domain, body(message, domain.code, domain.status, domain.context), error)
    if isinstance(error, APIException):
        text, code, status = first_text(error.detail), error.default_code, error.status_code
        return respond_to_framework(error, body(text, code, status))
    return None


def _documented(message: str) -> str:
    name, colon, rest = message.partition(":")
    return f"{FIELDS.get(name, name)}{colon}{rest}"


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return JSON for unknown paths of the API, a page for others.

    Set it as ``handler404`` in the portal's URLconf.
    """
    if request.path_info.lower().startswith("/api/2.0"):
        return JsonResponse(body(NotFound.text, NotFound.code, 404), status=404)
    return defaults.page_not_found(request, exception)
