"""Send interim responses on the server's own socket, because WSGI cannot send them."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress

from django.http import HttpRequest

DOCTOR = "uploads-doctor"
"""User agent of the doctor, which checks whether an interim response gets through.

Other clients get none in response to OPTIONS: without an upload, it would carry no information.
"""


def can_send(request: HttpRequest) -> bool:
    """Return whether an interim response can be sent.

    The server must expose its socket (gunicorn does), and the client must use HTTP/1.1.
    """
    return "gunicorn.socket" in request.META and request.META.get("SERVER_PROTOCOL") == "HTTP/1.1"


def send(request: HttpRequest, status: int, reason: str, headers: Mapping[str, str]) -> None:
    """Send an interim response at once. A disconnected client is noticed later."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    connection: socket.socket = request.META["gunicorn.socket"]
    with suppress(OSError):
        connection.sendall("\r\n".join(lines).encode("latin-1"))
