"""Build responses: their envelopes, statuses and headers."""

from __future__ import annotations

from typing import Any

from rest_framework.response import Response

from uploads._internal.http.views import RETRY_COMPLETION_AFTER, file_status
from uploads.models import Mode, State, UploadSession


def enveloped(data: Any, /, *, status: int = 200, **beside: Any) -> Response:
    """Return a response for ``/api/2.0``.

    ``beside`` are top-level fields that some clients read instead.
    """
    count = len(data) if isinstance(data, list) else 1
    envelope = {"response": data, "count": count, "links": [], "status": 0, "statusCode": status}
    return Response({**envelope, **beside}, status)


def empty_envelope() -> Response:
    """Return a response for ``/api/2.0`` without a ``response`` field."""
    return Response({"count": 0, "links": [], "status": 0, "statusCode": 200})


def location_response(data: Any, *, status: int = 200) -> Response:
    """Return a response of the location; ``message`` must be there even if it is empty."""
    return Response({"success": True, "data": data, "message": ""}, status)


def progress_status(session: UploadSession) -> int:
    """Return the status after a chunk: 201 completed, 202 being completed, 200 more expected."""
    return 200 if session.state == State.OPEN else file_status(session)


def with_progress(response: Response, session: UploadSession) -> Response:
    """Add the headers with the position to continue at, or the time to ask again."""
    if session.is_finishing:
        response["Retry-After"] = str(RETRY_COMPLETION_AFTER)
    if session.mode == Mode.SEQUENTIAL and session.bytes_stored:
        response["Range"] = f"0-{session.bytes_stored - 1}"
    return response
