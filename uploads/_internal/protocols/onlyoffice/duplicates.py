"""Decide whether a chunk that equals the previous one is that chunk, sent again.

Browsers, proxies and tools repeat a request by themselves when its connection ends before the response. Such a
duplicate must not be stored twice, and a file may repeat itself. The request tells them apart:

- Form libraries generate a boundary for each form, so an equal boundary means the same request.
- A program that sends another request over the same connection has read the previous response, so the chunk is new.
  Behind a proxy that proves nothing: the connection is the proxy's.

Without such evidence the client has to name the offset of the chunk (409 ``chunk_ambiguous``).
"""

from __future__ import annotations

import hashlib
import re
import socket
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from multipart import parse_options_header

from uploads._internal.sessions import Duplicate

if TYPE_CHECKING:
    from django.http import HttpRequest

_GENERATED = re.compile(
    r"-*WebKitFormBoundary(?!7MA4YWxkTrZu0gW)[A-Za-z0-9]{16}"  # Chromium, Safari; not the one that examples copy
    r"|-*geckoformboundary[0-9a-f]{16,}"  # Firefox
    r"|-{24,}[0-9A-Za-z]{16,24}"  # curl, form-data
    r"|-*formdata-undici-0[0-9]{11}"
    r"|[0-9a-f]{32}"  # urllib3, httpx
    r"|[0-9a-f]{60}"  # Go
    r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # OkHttp, .NET
)
"""Boundaries as libraries generate them for each form."""
_PROXIED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REAL_IP", "HTTP_FORWARDED", "HTTP_VIA")
_names: WeakKeyDictionary[socket.socket, str] = WeakKeyDictionary()
"""Ports are used again, sockets are not."""


@dataclass(frozen=True)
class RequestFingerprint:
    """What identifies the request of a chunk."""

    boundary: str = ""
    """Hash of the form's boundary; empty for a raw body."""
    generated: bool = False
    """Whether the boundary looks as libraries generate it."""
    connection: str = ""
    """The client's connection; empty if it is unknown or a proxy's."""

    def compare(self, previous: dict[str, Any]) -> Duplicate:
        """Compare with the stored fingerprint of the previous chunk, whose bytes are equal."""
        if not previous or previous["boundary"] != self.boundary:
            return Duplicate.NO
        if self.generated and previous["reuse"] != "always":
            return Duplicate.YES
        if self.boundary and previous["reuse"] == "never":
            return Duplicate.YES
        if self.connection and previous["connection"] == self.connection:
            return Duplicate.NO
        return Duplicate.UNKNOWN

    def stored(self, previous: dict[str, Any]) -> dict[str, Any]:
        """Return the fingerprint to store, with whether the client reuses boundaries for different chunks."""
        reuse = previous.get("reuse", "")
        if self.boundary and previous.get("boundary"):
            reuse = "always" if reuse == "always" or previous["boundary"] == self.boundary else "never"
        return {"boundary": self.boundary, "connection": self.connection, "reuse": reuse}


def read_fingerprint(request: HttpRequest) -> RequestFingerprint:
    boundary = parse_options_header(request.META.get("CONTENT_TYPE", ""))[1].get("boundary", "")
    return RequestFingerprint(
        boundary=hashlib.sha256(boundary.encode(errors="replace")).hexdigest()[:32] if boundary else "",
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
