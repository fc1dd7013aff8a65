"""What clients get: sessions and files in the protocol's words."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from uploads.destinations import Id
from uploads.exceptions import CompletionFailed
from uploads.models import Mode, State, UploadSession
from uploads.protocols.onlyoffice.dates import format_date
from uploads.protocols.onlyoffice.location import location_url

RETRY_COMPLETION_AFTER = 5
"""Seconds after which a client may ask again for a file that is still being completed."""


def session_data(session: UploadSession, request: Request) -> dict[str, Any]:
    """Return the ``<session>`` object. ``location`` always has a ``?``: clients append ``&…`` to it."""
    location = location_url(request)
    return {
        "id": session.id.hex,
        "path": session.path,
        "created": format_date(session.created_at),
        "expired": format_date(session.expires_at),
        "location": f"{location}?uid={session.id.hex}",
        "bytes_uploaded": session.bytes_certain,
        "bytes_total": session.file_size,
        "state": session.state,
        **({"failure": session.failure} if session.failure else {}),
    }


def progress_data(session: UploadSession, request: Request) -> dict[str, Any]:
    """Return the ``<session>`` object after a chunk.

    In order, the ``location`` says where the next chunk starts, so that a chunk sent twice to it is noticed.
    Only here: a client that keeps the first location for all chunks must not be held to its offset.
    """
    data = session_data(session, request) | {"path": [session.folder]}
    if session.mode != Mode.NUMBERED:
        data["location"] += f"&offset={session.bytes_certain}"
    return data


def chunk_data(session: UploadSession) -> dict[str, Any]:
    """Return what the REST route answers to a chunk that is not the last: the future file, not the session."""
    file_id: Id = int(session.file_id) if session.file_id.isdecimal() else session.file_id or 0
    return {
        "id": file_id,
        "folderId": session.folder,
        "version": session.file_version,
        "title": session.file_name,
        "uploaded": False,
        "bytes_uploaded": session.bytes_certain,
        "bytes_total": session.file_size,
    }


def file_data(session: UploadSession, request: Request) -> dict[str, Any]:
    """Return the published file of a completed session, its URLs made absolute for this client."""
    result: dict[str, Any] = session.result or {}
    details = described(result["file"], request)
    details["crc32"] = f"{session.crc32:08x}"
    return {**result, "uploaded": True, "file": details}


def described(details: dict[str, Any], request: Request) -> dict[str, Any]:
    """Return what the portal says of a file, its URLs made absolute for this client."""
    return {
        name: request.build_absolute_uri(value) if isinstance(value, str) and value.startswith("/") else value
        for name, value in details.items()
    }


def whole_file_data(session: UploadSession, request: Request) -> dict[str, Any]:
    """Return the file object that answers an upload in one request, whatever the portal says of its files."""
    data = file_data(session, request)
    details: dict[str, Any] = data["file"]
    return {name: data[name] for name in ("id", "folderId", "title", "version")} | details


def enveloped(data: Any, /, *, status: int = 200, **beside: Any) -> Response:
    """Answer under ``/api/2.0``; ``beside`` are the top-level names that some clients read instead."""
    count = len(data) if isinstance(data, list) else 1
    envelope = {"response": data, "count": count, "links": [], "status": 0, "statusCode": status}
    return Response({**envelope, **beside}, status)


def nothing() -> Response:
    """Answer under ``/api/2.0`` without a ``response``."""
    return Response({"count": 0, "links": [], "status": 0, "statusCode": 200})


def plain(data: Any, *, status: int = 200) -> Response:
    """Answer at the location; ``message`` must be there even if empty."""
    return Response({"success": True, "data": data, "message": ""}, status)


def progress_status(session: UploadSession) -> int:
    """Return the status that answers a chunk: 201 completed, 202 being completed, 200 go on."""
    if session.state == State.FAILED:
        raise CompletionFailed(reason=session.failure)
    return {State.COMPLETED: 201, State.COMPLETING: 202}.get(State(session.state), 200)


def with_progress(response: Response, session: UploadSession) -> Response:
    """Add the headers that tell a client where to continue, or when to ask again."""
    if session.state == State.COMPLETING:
        response["Retry-After"] = str(RETRY_COMPLETION_AFTER)
    if session.mode == Mode.SEQUENTIAL and session.bytes_certain:
        response["Range"] = f"0-{session.bytes_certain - 1}"
    return response
