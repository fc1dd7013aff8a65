"""What a request tells of where its chunk comes from, so that one which was sent again by itself is known."""

from __future__ import annotations

import hashlib
import re
import socket
import uuid
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from multipart import parse_options_header

from uploads.sessions import Origin

if TYPE_CHECKING:
    from django.http import HttpRequest

_GENERATED = re.compile(
    r"-*WebKitFormBoundary(?!7MA4YWxkTrZu0gW)[A-Za-z0-9]{16}"  # Chromium, Safari; not the one that examples copy
    r"|-*geckoformboundary[0-9a-f]{16,}"  # Firefox
)
"""Boundaries as browsers make them. Programs may keep theirs for a while, so theirs alone proves nothing."""
_PROXIED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REAL_IP", "HTTP_FORWARDED", "HTTP_VIA")
_names: WeakKeyDictionary[socket.socket, str] = WeakKeyDictionary()
"""Ports are used again, sockets are not."""


def read_origin(request: HttpRequest) -> Origin:
    boundary = parse_options_header(request.META.get("CONTENT_TYPE", ""))[1].get("boundary", "")
    return Origin(
        label=hashlib.sha256(boundary.encode(errors="replace")).hexdigest()[:32] if boundary else "",
        generated=bool(_GENERATED.fullmatch(boundary)),
        connection=_connection(request),
    )


def _connection(request: HttpRequest) -> str:
    """Return a name of the connection, or "" where it is a proxy's or the server does not tell."""
    if any(header in request.META for header in _PROXIED):
        return ""
    if "gunicorn.socket" in request.META:
        connection = request.META["gunicorn.socket"]
        by_proxy = connection.family == getattr(socket, "AF_UNIX", None)
        return "" if by_proxy else _names.setdefault(connection, uuid.uuid4().hex)
    port = request.META.get("REMOTE_PORT")
    return f"{request.META.get('REMOTE_ADDR')}:{port}" if port else ""
