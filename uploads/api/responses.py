"""What clients get: sessions and files in the protocol's words."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response

from uploads.api.dates import format_date
from uploads.destinations import Id
from uploads.exceptions import CompletionFailed
from uploads.models import State, UploadSession

RETRY_COMPLETION_AFTER = 5
"""Seconds after which a client may ask again for a file that is still being completed."""


def session_data(session: UploadSession, request: Request, *, path: list[Id] | None = None) -> dict[str, Any]:
    """Return the ``<session>`` object. ``location`` always has a ``?``: clients append ``&…`` to it."""
    location = request.build_absolute_uri(reverse("uploads:location"))
    return {
        "id": session.id.hex,
        "path": session.path if path is None else path,
        "created": format_date(session.created_at),
        "expired": format_date(session.expires_at),
        "location": f"{location}?uid={session.id.hex}",
        "bytes_uploaded": session.bytes_stored,
        "bytes_total": session.file_size,
        "state": session.state,
    }


def file_data(session: UploadSession, request: Request) -> dict[str, Any]:
    """Return the published file of a completed session, its URLs made absolute for this client."""
    result: dict[str, Any] = session.result or {}
    details = {
        name: request.build_absolute_uri(value) if isinstance(value, str) and value.startswith("/") else value
        for name, value in result["file"].items()
    }
    details["crc32"] = f"{session.crc32:08x}"
    return {**result, "uploaded": True, "file": details}


def folder_of(session: UploadSession) -> Id:
    """Return the folder's id in its own JSON type, as the destination gave it."""
    folder: Id = session.path[-1]
    return folder


def enveloped(data: Any, /, *, status: int = 200, **beside: Any) -> Response:
    """Answer under ``/api/2.0``; ``beside`` are the top-level names that some clients read instead."""
    envelope = {"response": data, "count": 1, "links": [], "status": 0, "statusCode": status}
    return Response({**envelope, **beside}, status)


def plain(data: Any, *, status: int = 200) -> Response:
    """Answer at the location; ``message`` must be there even if empty."""
    return Response({"success": True, "data": data, "message": ""}, status)


def progress(session: UploadSession, request: Request) -> Response:
    """Answer a chunk: 201 with the file, 202 while it is being completed, else 200 with the session."""
    if session.state == State.COMPLETED:
        return plain(file_data(session, request), status=201)
    if session.state == State.FAILED:
        raise CompletionFailed(reason=session.failure)
    data = session_data(session, request, path=[folder_of(session)])
    if session.state == State.COMPLETING:
        response = plain(data, status=202)
        response["Retry-After"] = str(RETRY_COMPLETION_AFTER)
        return response
    return plain(data)
