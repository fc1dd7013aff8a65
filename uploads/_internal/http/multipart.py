"""Forms (multipart/form-data) as they come: fields, and the first file as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from django.http.request import HttpRequest
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from uploads._internal.http.body import max_fields_size, read_blocks, read_field_blocks
from uploads._internal.http.exceptions import FieldsTooLarge, MalformedForm, NoBoundary, NoFilePart
from uploads.exceptions import InvalidRequest

FormEvent: TypeAlias = MultipartSegment | bytes | bytearray | None

MAX_OUTSIDE = 64 * 2**10
"""Bytes before the first and behind the last delimiter of a form (RFC 2046 5.1.1: to be ignored), in whole blocks."""
NOTHING = object()
MAX_SEGMENTS = 100
"""Parts of a form; clients send the file and a handful of fields."""


def is_form(request: HttpRequest) -> bool:
    return content_type(request)[0] == "multipart/form-data"


def content_type(request: HttpRequest) -> tuple[str, dict[str, str]]:
    kind, options = parse_options_header(request.META.get("CONTENT_TYPE", ""))
    return kind.lower(), options


def form_fields(request: HttpRequest, *, is_list: bool = False) -> dict[str, Any]:
    """Return the fields of a form without a file; ``is_list`` as in ``read_fields_body``."""
    fields = FormFields(is_list=is_list)
    for event in form_events(request, read_field_blocks(request, is_list=is_list)):
        fields.take(event)
    return fields.decoded()


def first_file(request: HttpRequest) -> Iterator[bytes]:
    """Yield the first file of the form; names mean nothing, clients call it what they like."""
    events, fields = form_events(request), FormFields()
    name_of_file(events, fields)
    yield from rest_of_file(events, fields)


class FormFields:
    """The fields of a form as they come, before and after its file; bounded."""

    def __init__(self, *, is_list: bool = False) -> None:
        self._maximum = max_fields_size(is_list=is_list)
        self._values: dict[str, bytearray] = {}
        self._value = bytearray()
        self._size = 0

    def take(self, event: FormEvent) -> None:
        """Take what the parser found; raise FieldsTooLarge."""
        if isinstance(event, MultipartSegment):
            self._value = self._values[as_utf8(event.name).lower()] = bytearray()
        elif event:
            self._size += len(event)
            if self._size > self._maximum:
                raise FieldsTooLarge(maximum=self._maximum)
            self._value += event

    def decoded(self) -> dict[str, str]:
        return {name: value.decode(errors="replace") for name, value in self._values.items()}


def name_of_file(events: Iterator[FormEvent], fields: FormFields, *, typed: bool = True) -> str:
    """Read the form up to its first file and return the file's name.

    What has no file name but a content type is a file, too, unless ``typed`` is False and it is text: some libraries
    give each field a type.
    """
    for event in events:
        if isinstance(event, MultipartSegment):
            kind = dict(event.headerlist).get("Content-Type", "")
            if event.filename is not None or (kind and (typed or not kind.lower().startswith("text/"))):
                return as_utf8(event.filename or "")
        fields.take(event)
    raise NoFilePart


def rest_of_file(events: Iterator[FormEvent], fields: FormFields, *, alone: bool = False) -> Iterator[bytes]:
    """Yield the file that has begun; read the fields after it, because only the form's end shows that it is whole.

    Raises InvalidRequest for another file, if it has to be ``alone``.
    """
    inside = True
    for event in events:
        if isinstance(event, MultipartSegment):
            inside = False
            if alone and event.filename is not None:
                message = "The form has more than one file: send each in a request of its own."
                raise InvalidRequest(message)
        if not inside:
            fields.take(event)
        elif event:
            yield bytes(event)


def form_events(request: HttpRequest, blocks: Iterator[bytes] | None = None) -> Iterator[FormEvent]:
    """Yield what the form consists of; raise NoBoundary or MalformedForm."""
    boundary = content_type(request)[1].get("boundary")
    if not boundary:
        raise NoBoundary
    try:
        # Field and file names may be in any encoding, and nothing here depends on them.
        parser = PushMultipartParser(boundary, header_charset="latin1", max_segment_count=MAX_SEGMENTS)
        outside = 0
        for block in read_blocks(request) if blocks is None else blocks:
            event: FormEvent | object = NOTHING
            for event in parser.parse(block):
                yield event
            outside += len(block) if event is NOTHING else 0
            if outside > MAX_OUTSIDE:
                raise MalformedForm(reason=f"more than {MAX_OUTSIDE} bytes stand before or behind its parts")
        parser.close()
    except MultipartError as error:
        raise MalformedForm(reason=str(error)) from error


def as_utf8(text: str) -> str:
    """Return text of a form's headers as what it nearly always is; they are read as latin-1, since any may come."""
    return text.encode("latin-1", "replace").decode("utf-8", "replace")
