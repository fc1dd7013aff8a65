"""Request bodies as streams: a block at a time from the socket, nothing spooled to disk.

Django and DRF parse forms into temporary files, and find nothing in a body of chunked encoding because it
has no Content-Length. So chunks are read from the WSGI input here, whose end the server knows.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from django.core.exceptions import TooManyFieldsSent
from django.http import QueryDict
from django.http.request import HttpRequest
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from uploads import conf
from uploads.api.digests import Digests
from uploads.api.origins import read_origin
from uploads.exceptions import (
    BodyConsumed,
    BodyHidden,
    BodyTimeout,
    ContentRangeInvalid,
    EncodingUnsupported,
    IncompleteBody,
    InvalidRequest,
    MalformedForm,
    NoBoundary,
    NoFilePart,
    UploadError,
)
from uploads.sessions import ByteRange, Chunk

if TYPE_CHECKING:
    from rest_framework.request import Request

BLOCK_SIZES = 2**16, 2**20
"""Bytes read at a time, at least and at most. The more, the fewer copies the server makes; but a writer shows a sign of
life with each block, so those of a slow client are small."""
DRAIN_SIZE, DRAIN_SECONDS = 64 * 2**20, 30
SHORT_DRAIN_SIZE, SHORT_DRAIN_SECONDS = 12 * 2**20, 3
"""Enough for a usual chunk: nobody who is not known, or sends too much at a time, keeps a thread busy for longer."""
SLOWEST = 8 * 2**10
"""Bytes per second below which a body is not waited for."""
MAX_FIELDS_SIZE = 2**20
"""Bytes of a body that carries fields, not a file."""
FormEvent: TypeAlias = MultipartSegment | bytes | bytearray | None
_CONTENT_RANGE = re.compile(r"^\s*bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\s*$", re.IGNORECASE)
MAX_SEGMENTS = 100
"""Parts of a form; clients send the file and a handful of fields."""


@dataclass(frozen=True)
class FileBody:
    """A file that came in one request."""

    name: str
    """As the client calls it; empty if it does not say."""
    fields: dict[str, str]
    """Of the query, and of the form before the file; their names in lower case."""
    chunk: Chunk


def read_file(request: Request) -> FileBody:
    """Return the file that the request carries, as the first file of a form or as the whole body."""
    http = _unencoded(request)
    length, fields = _declared_length(http), read_query(http)
    if not _is_form(http):
        options = parse_options_header(http.META.get("HTTP_CONTENT_DISPOSITION", ""))[1]
        return FileBody(options.get("filename", ""), fields, Chunk(_blocks(http), at_most=length))
    events = _form_events(http)
    name, given = _fields_before_file(events)
    return FileBody(name, fields | given, Chunk(_rest_of_file(events), at_most=length))


def read_chunk(request: Request) -> Chunk:
    """Return the chunk that the request carries, as the first file of a form or as the whole body."""
    http = _unencoded(request)
    return Chunk(
        _first_file(http) if _is_form(http) else _blocks(http),
        at_most=_declared_length(http),
        start=read_number(request, "offset"),
        range=_content_range(http),
        origin=read_origin(http),
    )


def _unencoded(request: Request) -> HttpRequest:
    http = request._request  # noqa: SLF001 - DRF's own stream is empty for chunked encoding
    encoding = http.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise EncodingUnsupported(encoding=encoding)
    return http


def require_body(request: Request) -> None:
    """Raise BodyConsumed if somebody read the body, and did not keep it, before the view was asked."""
    http = request._request  # noqa: SLF001 - see read_chunk
    if getattr(http, "_read_started", False) and not hasattr(http, "_body"):
        raise BodyConsumed


def read_query(request: HttpRequest | Request) -> dict[str, str]:
    """Return the query with names in lower case: clients write chunkNumber, ChunkNumber, …

    As it came: middleware of the host may have rewritten the names in ``request.GET``.
    """
    text = request.META.get("QUERY_STRING", "")
    try:
        raw = text.encode("latin-1")  # what WSGI makes of bytes
    except UnicodeEncodeError:
        raw = text.encode()
    return {name.lower(): str(value) for name, value in QueryDict(raw).items()}


def read_chunk_number(request: Request) -> int | None:
    """Return the number of the chunk, or None if it has none; raise InvalidRequest if one was meant but not said."""
    number = read_number(request, "chunknumber")
    meant = [name for name in read_query(request) if number is None and re.search("chunk|number|part|index", name)]
    if meant:
        message = f"The number of the chunk is called chunkNumber, not {meant[0]}."
        raise InvalidRequest(message)
    return number


def read_number(request: Request, name: str) -> int | None:
    """Return a number of the query, or None if it is not there; raise InvalidRequest if it is none."""
    text = read_query(request).get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        message = f"{name} must be a number."
        raise InvalidRequest(message)
    return int(text)


def _content_range(request: HttpRequest) -> ByteRange | None:
    value = request.META.get("HTTP_CONTENT_RANGE")
    if value is None:
        return None
    match = _CONTENT_RANGE.match(value)
    if not match or int(match[1]) > int(match[2]):
        raise ContentRangeInvalid(value=value, reason="it must be like bytes 0-1023/4096")
    return ByteRange(int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3]))


def read_fields(request: Request) -> dict[str, Any]:
    """Return the fields of the query and of a form or JSON body, their names in lower case.

    Clients of the protocol spell names in any case and some send no or a wrong Content-Type for JSON.
    """
    http = request._request  # noqa: SLF001 - see read_chunk
    return read_query(http) | {name.lower(): value for name, value in _body_fields(http).items()}


def drain(request: Request, *, patiently: bool) -> None:
    """Read what is left of the body, within bounds: closing on a client that still sends would cost it the answer."""
    http = request._request  # noqa: SLF001 - see read_chunk
    read, patience = 0, _Patience.of(http)
    size, seconds = (DRAIN_SIZE, DRAIN_SECONDS) if patiently else (SHORT_DRAIN_SIZE, SHORT_DRAIN_SECONDS)
    try:
        for block in () if patience.over else _blocks(http, within=seconds):
            read += len(block)
            if read > size:
                break
    except UploadError:
        return  # The client has gone, or the server keeps the body to itself.
    finally:
        patience.end()


def _body_fields(request: HttpRequest) -> dict[str, Any]:
    if _is_form(request):
        return _form_fields(request)
    kind = _content_type(request)[0]
    data = _read_all(_blocks(request))
    if not data:
        return {}
    if kind == "application/x-www-form-urlencoded":
        try:
            return QueryDict(data, encoding="utf-8").dict()
        except TooManyFieldsSent as error:
            raise InvalidRequest(str(error)) from error
    return _json_object(data)


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        msg = "The body is not valid JSON."
        raise InvalidRequest(msg) from error
    if not isinstance(fields, dict):
        msg = "The body must be a JSON object."
        raise InvalidRequest(msg)
    return fields


def _form_fields(request: HttpRequest) -> dict[str, Any]:
    fields: dict[str, bytearray] = {}
    value, size = bytearray(), 0
    for event in _form_events(request):
        if isinstance(event, MultipartSegment):
            value = fields[event.name] = bytearray()
        elif event:
            size += len(event)
            if size > MAX_FIELDS_SIZE:
                break
            value += event
    if size > MAX_FIELDS_SIZE:
        raise InvalidRequest(_TOO_LONG)
    return _decoded(fields)


def _first_file(request: HttpRequest) -> Iterator[bytes]:
    """Yield the first file of the form; names mean nothing, clients call it what they like."""
    events = _form_events(request)
    _fields_before_file(events)
    yield from _rest_of_file(events)


def _fields_before_file(events: Iterator[FormEvent]) -> tuple[str, dict[str, str]]:
    """Read the form up to its first file; return the file's name and the fields before it."""
    fields: dict[str, bytearray] = {}
    value = bytearray()
    for event in events:
        if isinstance(event, MultipartSegment):
            if event.filename is not None or "Content-Type" in dict(event.headerlist):
                return _as_utf8(event.filename or ""), _decoded(fields)
            value = fields[_as_utf8(event.name).lower()] = bytearray()
        elif event:
            value += event
            if sum(map(len, fields.values())) > MAX_FIELDS_SIZE:
                raise InvalidRequest(_TOO_LONG)
    raise NoFilePart


def _rest_of_file(events: Iterator[FormEvent]) -> Iterator[bytes]:
    """Yield the file that has begun; read what follows, because only its end shows that nothing is missing."""
    inside = True
    for event in events:
        if isinstance(event, MultipartSegment):
            inside = False
        elif event and inside:
            yield bytes(event)


def _as_utf8(text: str) -> str:
    """Return text of a form's headers as what it nearly always is; they are read as latin-1, since any may come."""
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


def _decoded(fields: dict[str, bytearray]) -> dict[str, str]:
    return {name: value.decode(errors="replace") for name, value in fields.items()}


def _is_form(request: HttpRequest) -> bool:
    return _content_type(request)[0] == "multipart/form-data"


def _form_events(request: HttpRequest) -> Iterator[FormEvent]:
    boundary = _content_type(request)[1].get("boundary")
    if not boundary:
        raise NoBoundary
    try:
        # Field and file names may be in any encoding, and nothing here depends on them.
        parser = PushMultipartParser(boundary, header_charset="latin1", max_segment_count=MAX_SEGMENTS)
        for block in _blocks(request):
            if not parser.closed:
                yield from parser.parse(block)
        parser.close()
    except MultipartError as error:
        raise MalformedForm(reason=str(error)) from error


def _content_type(request: HttpRequest) -> tuple[str, dict[str, str]]:
    kind, options = parse_options_header(request.META.get("CONTENT_TYPE", ""))
    return kind.lower(), options


def _blocks(request: HttpRequest, *, within: float | None = None) -> Iterator[bytes]:
    """Yield the body, for which the client has so many seconds.

    Raises IncompleteBody if it is shorter than declared or its framing is broken, BodyTimeout if it is too slow,
    DigestMismatch after the last block if it is not what its sender hashed.
    """
    source, declared = _source(request), _declared_length(request)
    digests = Digests(request) if within is None else None  # what is drained may have been read in part
    received, patience, size = 0, _Patience.of(request), BLOCK_SIZES[0]
    patience.start(within)
    try:
        while True:
            asked = time.monotonic()
            if declared is None and within is None:
                patience.start(patience.stall + size / SLOWEST)
            try:
                block = source.read(size)
            except Exception as error:  # Each server has its own errors for a client that went away.
                patience.check(received, error)
                raise IncompleteBody(received=received, declared="unknown" if declared is None else declared) from error
            if not block:
                break
            size = min(2 * size, BLOCK_SIZES[1]) if time.monotonic() - asked < 1 else BLOCK_SIZES[0]
            received += len(block)
            if digests:
                digests.update(block)
            yield block
    finally:
        patience.end()
    if declared is not None and received < declared:
        patience.check(received)
        raise IncompleteBody(received=received, declared=declared)
    if digests:
        digests.check()


class _Patience:
    """Ends the reading of a body that stalls or drips, where the server gives its socket away (gunicorn does).

    A block is waited for inside the server's own read, so only the socket can end that. There is one of these for
    each request: reading starts it, and ``drain`` ends it at the latest.
    """

    def __init__(self, request: HttpRequest) -> None:
        self.socket: socket.socket | None = request.META.get("gunicorn.socket")
        self.declared = _declared_length(request)
        self.stall = conf.current().READ_TIMEOUT.total_seconds()
        self.over = False
        self._timer: threading.Timer | None = None
        self._before: list[float | None] = []

    @classmethod
    def of(cls, request: HttpRequest) -> _Patience:
        patience: _Patience = request.META.setdefault("uploads.patience", cls(request))
        return patience

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
            self._timer = threading.Timer(within, self._stop)
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

    def _stop(self) -> None:
        self.over = True
        with suppress(OSError):
            # Only reading ends: the error can still be answered. (A TLS socket's own method would end TLS.)
            socket.socket.shutdown(self.socket, socket.SHUT_RD)  # type: ignore[arg-type]


def _source(request: HttpRequest) -> Any:
    """Return what to read the body from; the server's input ends by itself where it says so (PEP 3333 has no word)."""
    if _declared_length(request) is None and "wsgi.input" in request.META:
        if not request.META.get("wsgi.input_terminated"):
            raise BodyHidden
        return request.META["wsgi.input"]
    return request


def _declared_length(request: HttpRequest) -> int | None:
    """Return the Content-Length, 0 if there is no body at all, None for chunked encoding."""
    if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        return None
    try:
        return max(0, int(request.META.get("CONTENT_LENGTH") or 0))
    except ValueError:
        return 0


def _read_all(blocks: Iterator[bytes]) -> bytes:
    data = bytearray()
    for block in blocks:
        data += block
        if len(data) > MAX_FIELDS_SIZE:
            raise InvalidRequest(_TOO_LONG)
    return bytes(data)


_TOO_LONG = f"The fields are longer than {MAX_FIELDS_SIZE} bytes."
