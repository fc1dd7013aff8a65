"""Forms (multipart/form-data) as they come: fields, and the first file as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from django.http.request import HttpRequest
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from uploads.exceptions import InvalidRequest, MalformedForm, NoBoundary, NoFilePart
from uploads.http.body import MAX_FIELDS_SIZE, TOO_LONG, read_blocks

FormEvent: TypeAlias = MultipartSegment | bytes | bytearray | None

MAX_SEGMENTS = 100
"""Parts of a form; clients send the file and a handful of fields."""


def is_form(request: HttpRequest) -> bool:
    return content_type(request)[0] == "multipart/form-data"


def content_type(request: HttpRequest) -> tuple[str, dict[str, str]]:
    kind, options = parse_options_header(request.META.get("CONTENT_TYPE", ""))
    return kind.lower(), options


def form_fields(request: HttpRequest) -> dict[str, Any]:
    fields: dict[str, bytearray] = {}
    value, size = bytearray(), 0
    for event in form_events(request):
        if isinstance(event, MultipartSegment):
            value = fields[event.name] = bytearray()
        elif event:
            size += len(event)
            if size > MAX_FIELDS_SIZE:
                break
            value += event
    if size > MAX_FIELDS_SIZE:
        raise InvalidRequest(TOO_LONG)
    return _decoded(fields)


def first_file(request: HttpRequest) -> Iterator[bytes]:
    """Yield the first file of the form; names mean nothing, clients call it what they like."""
    events = form_events(request)
    fields_before_file(events)
    yield from rest_of_file(events)


def fields_before_file(events: Iterator[FormEvent], *, typed: bool = True) -> tuple[str, dict[str, str]]:
    """Read the form up to its first file; return the file's name and the fields before it.

    What has no file name but a content type is a file, too, unless ``typed`` is False and it is text: some libraries
    give each field a type.
    """
    fields: dict[str, bytearray] = {}
    value = bytearray()
    for event in events:
        if isinstance(event, MultipartSegment):
            kind = dict(event.headerlist).get("Content-Type", "")
            if event.filename is not None or (kind and (typed or not kind.lower().startswith("text/"))):
                return as_utf8(event.filename or ""), _decoded(fields)
            value = fields[as_utf8(event.name).lower()] = bytearray()
        elif event:
            value += event
            if sum(map(len, fields.values())) > MAX_FIELDS_SIZE:
                raise InvalidRequest(TOO_LONG)
    raise NoFilePart


def rest_of_file(events: Iterator[FormEvent], *, alone: bool = False) -> Iterator[bytes]:
    """Yield the file that has begun; read what follows, because only its end shows that nothing is missing.

    Raises InvalidRequest for another file, if it has to be ``alone``.
    """
    inside = True
    for event in events:
        if isinstance(event, MultipartSegment):
            inside = False
            if alone and event.filename is not None:
                message = "The form has more than one file: send each in a request of its own."
                raise InvalidRequest(message)
        elif event and inside:
            yield bytes(event)


def form_events(request: HttpRequest) -> Iterator[FormEvent]:
    boundary = content_type(request)[1].get("boundary")
    if not boundary:
        raise NoBoundary
    try:
        # Field and file names may be in any encoding, and nothing here depends on them.
        parser = PushMultipartParser(boundary, header_charset="latin1", max_segment_count=MAX_SEGMENTS)
        for block in read_blocks(request):
            if not parser.closed:
                yield from parser.parse(block)
        parser.close()
    except MultipartError as error:
        raise MalformedForm(reason=str(error)) from error


def as_utf8(text: str) -> str:
    """Return text of a form's headers as what it nearly always is; they are read as latin-1, since any may come."""
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


def _decoded(fields: dict[str, bytearray]) -> dict[str, str]:
    return {name: value.decode(errors="replace") for name, value in fields.items()}
