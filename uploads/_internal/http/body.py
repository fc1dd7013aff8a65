"""Request bodies as streams: a block at a time from the socket, nothing spooled to disk.

Django and DRF parse forms into temporary files, and find nothing in a body of chunked encoding because it
has no Content-Length. So chunks are read from the WSGI input here, whose end the server knows.
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
"""Bytes read at a time: at least, at first and at most. The more, the fewer copies the server makes; but with each
block a client shows that it is there, so those of a slow one are small."""
QUICK, SLOW = 0.2, 0.5
"""Seconds that a block takes before the next one is larger, or smaller."""

DRAIN_SIZE, DRAIN_SECONDS = 64 * 2**20, 30

SHORT_DRAIN_SIZE, SHORT_DRAIN_SECONDS = 12 * 2**20, 3
"""Enough for a usual chunk: nobody who is not known, or sends too much at a time, keeps a thread busy for longer."""

FIELDS_RATE = 6.4 * 2**10
"""Bytes per second below which fields are not waited for: ten seconds for 64 KiB."""
LIST = 16
"""How many times the bound of fields a list of names or parts may have."""


def below(request: Request) -> HttpRequest:
    """Return Django's request: REST framework's own stream is empty for chunked encoding."""
    return request._request  # noqa: SLF001 - there is no other way


def require_identity(request: HttpRequest) -> None:
    """Raise EncodingUnsupported if the body is not to be read as it is."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise EncodingUnsupported(encoding=encoding)


def require_body(request: Request) -> None:
    """Raise BodyConsumed if somebody read the body, and did not keep it, before the view was asked."""
    http = below(request)
    if getattr(http, "_read_started", False) and not hasattr(http, "_body"):
        raise BodyConsumed


def interrupter(request: HttpRequest) -> Callable[[], None]:
    """Return what ends the reading of the body from another thread."""
    return BodyDeadline.of(request).stop


def drain(request: HttpRequest, *, patiently: bool) -> None:
    """Read what is left of the body, within bounds; otherwise the client sees a reset instead of the answer.

    What is left beyond the bounds is not read, not by the server either, which would keep its thread for that.
    """
    read, deadline = 0, BodyDeadline.of(request)
    size, seconds = (DRAIN_SIZE, DRAIN_SECONDS) if patiently else (SHORT_DRAIN_SIZE, SHORT_DRAIN_SECONDS)
    # The client has gone, or the server keeps the body to itself.
    with suppress(UploadError):
        for block in () if deadline.over else read_blocks(request, within=seconds, verify=False):
            read += len(block)
            if read > size:
                break
    deadline.end()
    leave_unread(request)


def has_unread_body(request: HttpRequest) -> bool:
    """Tell whether the end of the body was not seen yet."""
    return declared_length(request) != 0 and not BodyDeadline.of(request).ended


def leave_unread(request: HttpRequest) -> None:
    """Keep the server from waiting for the rest of a body that nobody is going to read."""
    deadline = BodyDeadline.of(request)
    if not has_unread_body(request) or deadline.socket is None:
        return
    deadline.abandon()
    if deadline.socket.family != getattr(socket, "AF_UNIX", None):  # There a peer that still sends gets an error first.
        deadline.stop()


def max_fields_size(*, is_list: bool = False) -> int:
    return conf.current().MAX_FIELDS_SIZE * (LIST if is_list else 1)


def read_fields_body(request: HttpRequest, *, is_list: bool = False) -> bytes:
    """Return a body that carries fields; raise FieldsTooLarge, before any of it is read where its length is declared.

    ``is_list`` if it names many things, and so may be larger. Raises what ``read_blocks`` raises, too.
    """
    data = bytearray()
    for block in read_field_blocks(request, is_list=is_list):
        data += block
    return bytes(data)


def read_field_blocks(request: HttpRequest, *, is_list: bool = False) -> Iterator[bytes]:
    """Yield the blocks of a body that carries fields, within the bounds of ``read_fields_body``."""
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
    """Yield the body, for which the client has so many seconds.

    Raises IncompleteBody if it is shorter than declared or its framing is broken, BodyTimeout if it is too slow,
    DigestMismatch after the last block if it is not what its sender hashed.
    """
    source, declared = _source(request), declared_length(request)
    if digests is None and verify:  # What is drained may have been read in part.
        digests = Digests(request)
    digests = digests or None
    received, deadline, size = 0, BodyDeadline.of(request), BLOCK_SIZES[1]
    # Servers lose the block of a body without a length that is cut in it.
    most = BLOCK_SIZES[1] if declared is None else BLOCK_SIZES[2]
    deadline.start(within)
    try:
        while True:
            asked = time.monotonic()
            if declared is None and within is None:
                deadline.start(deadline.stall + size / SLOWEST)
            try:
                block = source.read(size)
            except Exception as error:  # Each server has its own errors for a client that went away.
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
    """Return what to read the body from; the server's input ends by itself where it says so (PEP 3333 has no word)."""
    if declared_length(request) is None and "wsgi.input" in request.META:
        if not request.META.get("wsgi.input_terminated"):
            raise BodyHidden
        return request.META["wsgi.input"]
    return request
