"""Request bodies as streams: read block by block from the socket, never spooled to disk.

Django and DRF parse forms into temporary files. They find nothing in a body with chunked encoding, because it has no
Content-Length. This module therefore reads chunks from the WSGI input, whose end the server knows.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.http.request import HttpRequest

from uploads._internal import conf
from uploads._internal.http.digests import Digests
from uploads._internal.http.exceptions import (
    BodyConsumed,
    BodyHidden,
    EncodingUnsupported,
    FieldsTooLarge,
    IncompleteBody,
)
from uploads.exceptions import UploadError

if TYPE_CHECKING:
    from rest_framework.request import Request

from uploads._internal.http.deadline import SLOWEST, BodyDeadline, declared_length

BLOCK_SIZES = 2**12, 2**16, 2**20
"""Minimum, initial and maximum number of bytes to read at a time.

Large blocks save copies in the server. Each block shows that the client is present, so slow clients get small blocks.
"""
QUICK, SLOW = 0.2, 0.5
"""Seconds per block. A quicker block doubles the next one, a slower block halves it."""

DRAIN_SIZE, DRAIN_SECONDS = 64 * 2**20, 30

SHORT_DRAIN_SIZE, SHORT_DRAIN_SECONDS = 12 * 2**20, 3
"""Limits that suffice for a usual chunk.

They apply before the session or file is known, for example to anonymous requests and to too many concurrent requests.
Such requests keep a thread busy no longer.
"""

FIELDS_RATE = 6.4 * 2**10
"""Minimum bytes per second of fields: ten seconds for 64 KiB."""
LIST = 16
"""Factor by which a list of names or parts may exceed the limit for fields."""


def django_request(request: Request) -> HttpRequest:
    """Return Django's request, because REST framework's stream is empty for chunked encoding."""
    return request._request  # noqa: SLF001 - there is no other way


def require_identity(request: HttpRequest) -> None:
    """Raise EncodingUnsupported if the body is encoded."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise EncodingUnsupported(encoding=encoding)


def require_body(request: Request) -> None:
    """Raise BodyConsumed if the body was read, and not kept, before the view."""
    http = django_request(request)
    if getattr(http, "_read_started", False) and not hasattr(http, "_body"):
        raise BodyConsumed


def interrupter(request: HttpRequest) -> Callable[[], None]:
    """Return a function that stops reading the body from another thread."""
    return BodyDeadline.of(request).stop


def drain(request: HttpRequest, *, patiently: bool) -> None:
    """Read the rest of the body, within limits, so that the client receives the response.

    Otherwise the client sees a connection reset. Bytes beyond the limits stay unread. The server does not read them
    either, because that would occupy its thread.
    """
    read, deadline = 0, BodyDeadline.of(request)
    size, seconds = (DRAIN_SIZE, DRAIN_SECONDS) if patiently else (SHORT_DRAIN_SIZE, SHORT_DRAIN_SECONDS)
    # The client may have disconnected, or the server may not pass the body on.
    with suppress(UploadError):
        for block in () if deadline.over else read_blocks(request, within=seconds, verify=False):
            read += len(block)
            if read > size:
                break
    deadline.end()
    leave_unread(request)


def has_unread_body(request: HttpRequest) -> bool:
    """Return whether the end of the body is still unread."""
    return declared_length(request) != 0 and not BodyDeadline.of(request).ended


def leave_unread(request: HttpRequest) -> None:
    """Keep the server from waiting for the rest of a body that stays unread."""
    deadline = BodyDeadline.of(request)
    if not has_unread_body(request) or deadline.socket is None:
        return
    deadline.abandon()
    # On a Unix socket, a peer that still sends would get an error before the response.
    if getattr(deadline.socket, "family", None) != getattr(socket, "AF_UNIX", ""):
        deadline.stop()


def max_fields_size(*, is_list: bool = False) -> int:
    return conf.current().MAX_FIELDS_SIZE * (LIST if is_list else 1)


def read_fields_body(request: HttpRequest, *, is_list: bool = False) -> bytes:
    """Return a body that carries fields; raise FieldsTooLarge if it exceeds the limit.

    A body with a declared length above the limit is refused before it is read. ``is_list`` selects the larger limit for
    lists of names or parts. Also raises the errors of ``read_blocks``.
    """
    data = bytearray()
    for block in read_field_blocks(request, is_list=is_list):
        data += block
    return bytes(data)


def read_field_blocks(request: HttpRequest, *, is_list: bool = False) -> Iterator[bytes]:
    """Yield the blocks of a body that carries fields, within the limits of ``read_fields_body``."""
    maximum = max_fields_size(is_list=is_list)
    if (declared_length(request) or 0) > maximum:
        raise FieldsTooLarge(maximum=maximum)
    size = 0
    for block in read_blocks(request, within=maximum / FIELDS_RATE):
        size += len(block)
        if size > maximum:
            raise FieldsTooLarge(maximum=maximum)
        yield block


def read_blocks(
    request: HttpRequest, *, within: float | None = None, digests: Digests | None = None, verify: bool = True
) -> Iterator[bytes]:
    """Yield the blocks of the body; ``within`` is the time limit in seconds.

    Raises IncompleteBody if the body is shorter than declared or its framing is broken. Raises BodyTimeout if the
    client is too slow. Raises DigestMismatch after the last block if the body does not match the client's digest.
    """
    source, declared = _source(request), declared_length(request)
    if digests is None and verify:  # A drained body may have been read in part, so its digest would not match.
        digests = Digests(request)
    digests = digests or None
    received, deadline, size = 0, BodyDeadline.of(request), BLOCK_SIZES[1]
    # Servers lose the current block if a body without a length breaks off, so the blocks of such a body stay small.
    most = BLOCK_SIZES[1] if declared is None else BLOCK_SIZES[2]
    deadline.start(within)
    try:
        while True:
            asked = time.monotonic()
            if declared is None and within is None:
                deadline.start(deadline.stall + size / SLOWEST)
            try:
                block = source.read(size)
            except Exception as error:  # Each server has its own errors for a disconnected client.
                deadline.check(received, error)
                raise IncompleteBody(received=received, declared="unknown" if declared is None else declared) from error
            if not block:
                deadline.ended = True
                break
            took = time.monotonic() - asked
            if took < QUICK:
                size = min(2 * size, most)
            elif took > SLOW:
                size = max(size // 2, BLOCK_SIZES[0])
            received += len(block)
            if digests:
                digests.update(block)
            yield block
    finally:
        deadline.end()
    if declared is not None and received < declared:
        deadline.check(received)
        raise IncompleteBody(received=received, declared=declared)
    if digests:
        digests.check()


def _source(request: HttpRequest) -> Any:
    """Return the object from which to read the body; raise BodyHidden.

    PEP 3333 does not define the end of a body without Content-Length. The server's input ends correctly only if the
    server sets ``wsgi.input_terminated``.
    """
    if declared_length(request) is None and "wsgi.input" in request.META:
        if not request.META.get("wsgi.input_terminated"):
            raise BodyHidden
        return request.META["wsgi.input"]
    return request
