"""What requests of any dialect say: their queries, the range and the name of what they carry, and files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from django.http import QueryDict
from django.http.request import HttpRequest
from multipart import parse_options_header

from uploads._internal.http.body import below, interrupter, read_blocks, require_identity
from uploads._internal.http.deadline import declared_length, is_sending
from uploads._internal.http.exceptions import ChunkOfWidget
from uploads._internal.http.multipart import FormFields, as_utf8, form_events, is_form, name_of_file, rest_of_file
from uploads._internal.sessions import ByteRange, Chunk
from uploads.exceptions import ContentRangeInvalid, InvalidRequest

if TYPE_CHECKING:
    from rest_framework.request import Request

_EXTENDED_NAME = re.compile(r"filename\*\s*=\s*UTF-8'[^']*'([^;\s]+)", re.IGNORECASE)
CHUNKS = "dztotalchunkcount", "flowtotalchunks", "resumabletotalchunks", "chunks"
"""How Dropzone, flow.js, resumable.js and plupload say how many chunks a file has."""
TOTALS = "dztotalfilesize", "flowtotalsize", "resumabletotalsize"
"""How they say the size of the file, in bytes."""
_CONTENT_RANGE = re.compile(r"^\s*bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class FileBody:
    """A file that came in one request."""

    name: str
    """As the client calls it; empty if it does not say."""
    chunk: Chunk
    query: dict[str, str]
    form: FormFields | None = None

    @property
    def fields(self) -> dict[str, str]:
        """Of the query and of the form, their names in lower case; those behind the file once the chunk is read."""
        return self.query | (self.form.decoded() if self.form else {})


def read_file(request: Request) -> FileBody:
    """Return the file that the request carries, as the first file of a form or as the whole body."""
    http = below(request)
    require_identity(http)
    given = read_range(http)
    if given and (given.first or given.total not in (None, given.last + 1)):
        value = http.META["HTTP_CONTENT_RANGE"]
        raise ContentRangeInvalid(value=value, reason="a file in one request is sent as a whole")
    query, options = read_query(http), body_options(http)
    if not is_form(http):
        return FileBody(disposed_name(http), Chunk(read_blocks(http), **options), query)
    events, form = form_events(http), FormFields()
    name = name_of_file(events, form, typed=False)
    _require_whole_file(query | form.decoded())

    def blocks() -> Iterator[bytes]:
        size = 0
        for block in rest_of_file(events, form, alone=True):
            size += len(block)
            yield block
        _require_whole_file(query | form.decoded(), size)

    return FileBody(name, Chunk(blocks(), **options), query, form)


def _require_whole_file(fields: dict[str, str], size: int | None = None) -> None:
    """Raise ChunkOfWidget for a form that a widget made of a chunk: taken for a whole file, it would be published."""
    chunks = next((fields[name] for name in CHUNKS if name in fields), "1")
    total = next((fields[name] for name in TOTALS if name in fields), "")
    is_other = size is not None and total.isdecimal() and total.lstrip("0") != str(size or "")
    if chunks not in ("", "0", "1") or is_other:
        raise ChunkOfWidget


def body_options(http: HttpRequest) -> dict[str, Any]:
    """Return what is to be said of any chunk: how much may come, and how to end or watch its coming."""
    return {
        "at_most": declared_length(http),
        "size": None if is_form(http) else declared_length(http),
        "interrupt": interrupter(http),
        "is_sending": partial(is_sending, http),
    }


def disposed_name(http: HttpRequest) -> str:
    """Return the file name that Content-Disposition says, in either of the two ways (RFC 6266); empty if none."""
    header = http.META.get("HTTP_CONTENT_DISPOSITION", "")
    options = parse_options_header(header)[1]
    extended = _EXTENDED_NAME.search(header)
    return unquote(extended[1], errors="replace") if extended else as_utf8(options.get("filename", ""))


def read_query(request: HttpRequest | Request) -> dict[str, str]:
    """Return the query with names in lower case: clients write chunkNumber, ChunkNumber, …

    As it came: middleware of the host may have rewritten the names in ``request.GET``.
    """
    query: dict[str, str] | None = request.META.get("uploads.query")
    if query is None:
        text = request.META.get("QUERY_STRING", "")
        try:
            raw = text.encode("latin-1")  # what WSGI makes of bytes
        except UnicodeEncodeError:
            raw = text.encode()
        query = {name.lower(): str(value) for name, value in QueryDict(raw).items()}
        request.META["uploads.query"] = query
    return query


def read_range(request: HttpRequest) -> ByteRange | None:
    """Return what Content-Range says (RFC 9110); raise ContentRangeInvalid for what is none."""
    value = request.META.get("HTTP_CONTENT_RANGE")
    if value is None:
        return None
    match = _CONTENT_RANGE.match(value)
    if not match or int(match[1]) > int(match[2]):
        raise ContentRangeInvalid(value=value, reason="it must be like bytes 0-1023/4096")
    return ByteRange(int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3]))


def json_object(data: bytes) -> dict[str, Any]:
    """Return the object that a body is in JSON; raise InvalidRequest if it is none."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        msg = "The body is not valid JSON."
        raise InvalidRequest(msg) from error
    if not isinstance(fields, dict):
        msg = "The body must be a JSON object."
        raise InvalidRequest(msg)
    return fields
