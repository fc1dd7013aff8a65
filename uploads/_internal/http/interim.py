"""Interim responses on the server's own socket, before the answer: WSGI has no way to send them."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress

from django.http import HttpRequest

DOCTOR = "uploads-doctor"
"""Who asks whether an interim response gets through: to anybody else, one without an upload would say nothing."""


def can_send(request: HttpRequest) -> bool:
    """Tell whether the server gives its socket away (gunicorn does), and the client's HTTP knows interim responses."""
    return "gunicorn.socket" in request.META and request.META.get("SERVER_PROTOCOL") == "HTTP/1.1"


def send(request: HttpRequest, status: int, reason: str, headers: Mapping[str, str]) -> None:
    """Send an interim response at once; a client that has gone is noticed later."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    connection: socket.socket = request.META["gunicorn.socket"]
    with suppress(OSError):
        connection.sendall("\r\n".join(lines).encode("latin-1"))
