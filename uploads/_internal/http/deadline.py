"""Limit the time for reading a body, and detect clients that are still sending."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Any

from django.http.request import HttpRequest

from uploads._internal import conf
from uploads._internal.http.exceptions import BodyTimeout

LAST_DATA_RECEIVED = 52
"""Offset in ``struct tcp_info`` of the milliseconds since the last data (Linux: uapi/linux/tcp.h)."""

SLOWEST = 8 * 2**10
"""Minimum bytes per second of a body."""


ASGI_BODY = "uploads.asgi_body"
"""Environment variable with the body of an ASGI request (``uploads.contrib.asgi``)."""


def is_sending(request: HttpRequest) -> bool:
    """Return whether data of the body arrived within the last second.

    The system reports this on Linux only (TCP_INFO).
    """
    if ASGI_BODY in request.META:
        return bool(request.META[ASGI_BODY].is_sending())
    connection: socket.socket | None = request.META.get("gunicorn.socket")
    if connection is None or not hasattr(socket, "TCP_INFO"):
        return False
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
    except OSError:
        return False  # a Unix socket, or a closed one
    return bool(struct.unpack_from("=I", info, LAST_DATA_RECEIVED)[0] < 1000)


class BodyDeadline:
    """Stop reading a body that stalls or arrives too slowly.

    The server waits for a block inside its own read, so only its socket can end the wait. The server must expose that
    socket (gunicorn does). Each request has one deadline: reading starts it, and ``drain`` ends it at the latest.
    """

    def __init__(self, request: HttpRequest) -> None:
        # An HTTP/2 connection carries other requests, too.
        is_alone = request.META.get("SERVER_PROTOCOL", "").startswith("HTTP/1")
        self.socket: Any = request.META.get("gunicorn.socket") if is_alone else None
        """The server's socket, or the body of an ASGI request, which has the same timeouts; else None."""
        if self.socket is None:
            self.socket = request.META.get(ASGI_BODY)
        self.body: Any = request.META.get("wsgi.input")
        self.declared = declared_length(request)
        self.stall = conf.current().READ_TIMEOUT.total_seconds()
        self.over = False
        """True if the client was too slow, or reading was stopped."""
        self.ended = False
        """True if the end of the body was seen."""
        self._timer: threading.Timer | None = None
        self._before: list[float | None] = []

    @classmethod
    def of(cls, request: HttpRequest) -> BodyDeadline:
        deadline: BodyDeadline | None = request.META.get("uploads.body_deadline")
        if deadline is None:
            deadline = request.META["uploads.body_deadline"] = cls(request)
        return deadline

    def start(self, within: float | None) -> None:
        """Start the deadline: ``within`` seconds in total, else as long as the length allows."""
        self.end()
        if self.socket is None or self.over:
            return
        if within is None and self.declared is not None:
            within = self.stall + self.declared / SLOWEST
        self._before.append(self.socket.gettimeout())
        self.socket.settimeout(self.stall)
        if within is not None:
            self._timer = threading.Timer(within, self.stop)
            self._timer.daemon = True
            self._timer.start()

    def end(self) -> None:
        """End the deadline, because the connection may carry another request."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._before and self.socket is not None:
            self.socket.settimeout(self._before.pop())

    def check(self, received: int, error: Exception | None = None) -> None:
        """Raise BodyTimeout if the body ended because of the deadline."""
        # Django wraps the server's exception.
        if self.over or isinstance(error and (error.__cause__ or error), TimeoutError):
            self.over = True
            raise BodyTimeout(received=received)

    def abandon(self) -> None:
        """Make gunicorn close the connection: further bytes belong to this body, not to another request."""
        if self.socket is not None and hasattr(self.body, "failed"):
            self.body.failed = True

    def stop(self) -> None:
        """Stop reading now."""
        self.over = True
        if self.socket is None:
            return
        self.abandon()
        if not isinstance(self.socket, socket.socket):
            self.socket.interrupt()
            return
        with suppress(OSError):
            # Only reading ends, so the error response can still be sent. A TLS socket's own method would end TLS.
            socket.socket.shutdown(self.socket, socket.SHUT_RD)


def declared_length(request: HttpRequest) -> int | None:
    """Return the Content-Length, 0 if there is no body, None for a body of undeclared length."""
    if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        return None
    # HTTP/2 and HTTP/3 need no header for such a body (RFC 9113 8.2.2).
    is_framed = request.META.get("SERVER_PROTOCOL", "").startswith(("HTTP/2", "HTTP/3"))
    if is_framed and request.META.get("wsgi.input_terminated") and not request.META.get("CONTENT_LENGTH"):
        return None
    try:
        return max(0, int(request.META.get("CONTENT_LENGTH") or 0))
    except ValueError:
        return 0
