"""Read requests of any protocol: query, Content-Range, file name and file."""

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

from uploads._internal.http.body import django_request, interrupter, read_blocks, require_identity
from uploads._internal.http.deadline import declared_length, is_sending
from uploads._internal.http.digests import Digests
from uploads._internal.http.exceptions import ChunkOfWidget
from uploads._internal.http.multipart import FormFields, as_utf8, form_events, is_form, name_of_file, rest_of_file
from uploads._internal.sessions import ByteRange, Chunk
from uploads.exceptions import ContentRangeInvalid, InvalidRequest

if TYPE_CHECKING:
    from rest_framework.request import Request

_EXTENDED_NAME = re.compile(r"filename\*\s*=\s*UTF-8'[^']*'([^;\s]+)", re.IGNORECASE)
CHUNKS = "dztotalchunkcount", "flowtotalchunks", "resumabletotalchunks", "chunks"
"""Fields of Dropzone, flow.js, resumable.js and plupload for the number of chunks in a file."""
TOTALS = "dztotalfilesize", "flowtotalsize", "resumabletotalsize"
"""Fields of Dropzone, flow.js and resumable.js for the size of the file, in bytes."""
_CONTENT_RANGE = re.compile(r"^\s*bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class FileBody:
    """A file that is sent in one request."""

    name: str
    """The client's name for the file; empty if the client sends none."""
    chunk: Chunk
    query: dict[str, str]
    form: FormFields | None = None

    @property
    def fields(self) -> dict[str, str]:
        """Return the fields of the query and the form, with names in lower case.

        Fields behind the file are included once the chunk is read.
        """
        return self.query | (self.form.decoded() if self.form else {})


def read_file(request: Request) -> FileBody:
    """Return the file of the request: a form's first file, or the whole body."""
    http = django_request(request)
    require_identity(http)
    given = read_range(http)
    if given and (given.first or given.total not in (None, given.last + 1)):
        value = http.META["HTTP_CONTENT_RANGE"]
        raise ContentRangeInvalid(value=value, reason="a file in one request is sent as a whole")
    query, options = read_query(http), body_options(http)
    if not is_form(http):
        blocks = read_blocks(http, digests=Digests(http, whole=True))
        return FileBody(content_disposition_name(http), Chunk(blocks, **options), query)
    events, form = form_events(http), FormFields()
    name = name_of_file(events, form, typed=False)
    _require_whole_file(query | form.decoded())

    def file_blocks() -> Iterator[bytes]:
        size = 0
        for block in rest_of_file(events, form, alone=True):
            size += len(block)
            yield block
        _require_whole_file(query | form.decoded(), size)

    return FileBody(name, Chunk(file_blocks(), **options), query, form)


def _require_whole_file(fields: dict[str, str], size: int | None = None) -> None:
    """Raise ChunkOfWidget for a form that an upload widget made of one chunk.

    Otherwise the chunk would be published as a whole file.
    """
    chunks = next((fields[name] for name in CHUNKS if name in fields), "1")
    total = next((fields[name] for name in TOTALS if name in fields), "")
    is_other = size is not None and total.isdecimal() and total.lstrip("0") != str(size or "")
    if chunks not in ("", "0", "1") or is_other:
        raise ChunkOfWidget


def body_options(http: HttpRequest) -> dict[str, Any]:
    """Return the options of any chunk: size limits, and functions to interrupt or watch it."""
    return {
        "at_most": declared_length(http),
        "size": None if is_form(http) else declared_length(http),
        "interrupt": interrupter(http),
        "is_sending": partial(is_sending, http),
    }


def content_disposition_name(http: HttpRequest) -> str:
    """Return the file name of Content-Disposition in either syntax (RFC 6266); empty if none."""
    header = http.META.get("HTTP_CONTENT_DISPOSITION", "")
    options = parse_options_header(header)[1]
    extended = _EXTENDED_NAME.search(header)
    return unquote(extended[1], errors="replace") if extended else as_utf8(options.get("filename", ""))


def read_query(request: HttpRequest | Request) -> dict[str, str]:
    """Return the query with names in lower case: clients write chunkNumber, ChunkNumber, …

    The raw query string is parsed, because the host's middleware may have renamed fields in ``request.GET``.
    """
    query: dict[str, str] | None = request.META.get("uploads.query")
    if query is None:
        text = request.META.get("QUERY_STRING", "")
        try:
            raw = text.encode("latin-1")  # WSGI decodes bytes as latin-1
        except UnicodeEncodeError:
            raw = text.encode()
        query = {name.lower(): str(value) for name, value in QueryDict(raw).items()}
        request.META["uploads.query"] = query
    return query


def read_range(request: HttpRequest) -> ByteRange | None:
    """Return the range of Content-Range (RFC 9110), or None without the header.

    Raises ContentRangeInvalid for a malformed header.
    """
    value = request.META.get("HTTP_CONTENT_RANGE")
    if value is None:
        return None
    match = _CONTENT_RANGE.match(value)
    if not match or int(match[1]) > int(match[2]):
        raise ContentRangeInvalid(value=value, reason="it must be like bytes 0-1023/4096")
    return ByteRange(int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3]))


def json_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; raise InvalidRequest for anything else."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        msg = "The body is not valid JSON."
        raise InvalidRequest(msg) from error
    if not isinstance(fields, dict):
        msg = "The body must be a JSON object."
        raise InvalidRequest(msg)
    return fields
