"""How long a body is waited for, and whether its client still sends."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Any

from django.http.request import HttpRequest

from uploads._internal import conf
from uploads._internal.http.exceptions import (
    BodyTimeout,
)

LAST_DATA_RECEIVED = 52
"""Where ``struct tcp_info`` has the milliseconds since data came (Linux: uapi/linux/tcp.h)."""

SLOWEST = 8 * 2**10
"""Bytes per second below which a body is not waited for."""


def is_sending(request: HttpRequest) -> bool:
    """Tell whether some of the body came within the last second, as far as the system tells (Linux: TCP_INFO)."""
    connection: socket.socket | None = request.META.get("gunicorn.socket")
    if connection is None or not hasattr(socket, "TCP_INFO"):
        return False
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
    except OSError:
        return False  # a Unix socket, or closed
    return bool(struct.unpack_from("=I", info, LAST_DATA_RECEIVED)[0] < 1000)


class BodyDeadline:
    """Ends the reading of a body that stalls or drips, where the server gives its socket away (gunicorn does).

    A block is waited for inside the server's own read, so only the socket can end that. There is one of these for
    each request: reading starts it, and ``drain`` ends it at the latest.
    """

    def __init__(self, request: HttpRequest) -> None:
        # In HTTP/2 it has other requests, too.
        is_alone = request.META.get("SERVER_PROTOCOL", "").startswith("HTTP/1")
        self.socket: socket.socket | None = request.META.get("gunicorn.socket") if is_alone else None
        self.body: Any = request.META.get("wsgi.input")
        self.declared = declared_length(request)
        self.stall = conf.current().READ_TIMEOUT.total_seconds()
        self.over = False
        """Whether the client was too slow."""
        self.ended = False
        """Whether the end of the body was seen."""
        self._timer: threading.Timer | None = None
        self._before: list[float | None] = []

    @classmethod
    def of(cls, request: HttpRequest) -> BodyDeadline:
        deadline: BodyDeadline | None = request.META.get("uploads.body_deadline")
        if deadline is None:
            deadline = request.META["uploads.body_deadline"] = cls(request)
        return deadline

    def start(self, within: float | None) -> None:
        """Wait for the body from now on: for so many seconds in all, or for as long as its length allows."""
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
        """Stop waiting; the connection may get another request."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._before and self.socket is not None:
            self.socket.settimeout(self._before.pop())

    def check(self, received: int, error: Exception | None = None) -> None:
        """Raise BodyTimeout if that is why there is no more."""
        # Django wraps what the server raises.
        if self.over or isinstance(error and (error.__cause__ or error), TimeoutError):
            self.over = True
            raise BodyTimeout(received=received)

    def abandon(self) -> None:
        """Let gunicorn close the connection: what still comes is body, and not the next request."""
        if self.socket is not None and hasattr(self.body, "failed"):
            self.body.failed = True

    def stop(self) -> None:
        """End the reading now."""
        self.over = True
        if self.socket is None:
            return
        self.abandon()
        with suppress(OSError):
            # Only reading ends: the error can still be answered. (A TLS socket's own method would end TLS.)
            socket.socket.shutdown(self.socket, socket.SHUT_RD)


def declared_length(request: HttpRequest) -> int | None:
    """Return the Content-Length, 0 if there is no body at all, None for chunked encoding."""
    if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        return None
    try:
        return max(0, int(request.META.get("CONTENT_LENGTH") or 0))
    except ValueError:
        return 0
