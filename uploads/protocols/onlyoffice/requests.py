"""What the protocol's requests say: their queries, fields, chunks and files, in whatever spelling."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from django.core.exceptions import TooManyFieldsSent
from django.http import QueryDict
from django.http.request import HttpRequest
from multipart import parse_options_header

from uploads.exceptions import ContentRangeInvalid, InvalidRequest
from uploads.http.body import declared_length, interrupter, is_sending, read_all, read_blocks, unencoded
from uploads.http.forms import (
    as_utf8,
    content_type,
    fields_before_file,
    first_file,
    form_events,
    form_fields,
    is_form,
    rest_of_file,
)
from uploads.protocols.onlyoffice import conf
from uploads.protocols.onlyoffice.origins import read_origin
from uploads.sessions import ByteRange, Chunk

if TYPE_CHECKING:
    from rest_framework.request import Request


_EXTENDED_NAME = re.compile(r"filename\*\s*=\s*UTF-8'[^']*'([^;\s]+)", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"^\s*bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\s*$", re.IGNORECASE)


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
    http = unencoded(request)
    given_range = _content_range(http)
    if given_range and (given_range.first or given_range.total not in (None, given_range.last + 1)):
        value = http.META["HTTP_CONTENT_RANGE"]
        raise ContentRangeInvalid(value=value, reason="a file in one request is sent as a whole")
    length, fields = declared_length(http), read_query(http)
    if not is_form(http):
        name = _disposed_name(http.META.get("HTTP_CONTENT_DISPOSITION", ""))
        return FileBody(name, fields, Chunk(read_blocks(http), at_most=length))
    events = form_events(http)
    name, given = fields_before_file(events, typed=False)
    return FileBody(name, fields | given, Chunk(rest_of_file(events, alone=True), at_most=length))


def _disposed_name(header: str) -> str:
    """Return the file name that a Content-Disposition says, in either of the two ways (RFC 6266)."""
    options = parse_options_header(header)[1]
    extended = _EXTENDED_NAME.search(header)
    return unquote(extended[1], errors="replace") if extended else as_utf8(options.get("filename", ""))


def read_chunk(request: Request) -> Chunk:
    """Return the chunk that the request carries, as the first file of a form or as the whole body."""
    http = unencoded(request)
    return Chunk(
        first_file(http) if is_form(http) else read_blocks(http),
        at_most=declared_length(http),
        start=read_number(request, "offset"),
        range=_content_range(http),
        origin=read_origin(http),
        interrupt=interrupter(http),
        is_sending=partial(is_sending, http),
        rules=conf.current().rules,
    )


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
    http = request._request  # noqa: SLF001 - see unencoded
    return read_query(http) | {name.lower(): value for name, value in _body_fields(http).items()}


def _body_fields(request: HttpRequest) -> dict[str, Any]:
    if is_form(request):
        return form_fields(request)
    kind = content_type(request)[0]
    data = read_all(read_blocks(request))
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
