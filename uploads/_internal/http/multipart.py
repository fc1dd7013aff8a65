"""Read forms (multipart/form-data) as streams: fields, and the first file."""

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
"""Maximum bytes before the first and behind the last delimiter of a form.

Such bytes are to be ignored (RFC 2046 5.1.1). They are counted in whole blocks.
"""
NOTHING = object()
MAX_SEGMENTS = 100
"""Maximum parts of a form; clients send the file and a handful of fields."""


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
    """Yield the form's first file under any field name, because clients choose the name."""
    events, fields = form_events(request), FormFields()
    name_of_file(events, fields)
    yield from rest_of_file(events, fields)


class FormFields:
    """The fields of a form, before and after its file, with a size limit."""

    def __init__(self, *, is_list: bool = False) -> None:
        self._maximum = max_fields_size(is_list=is_list)
        self._values: dict[str, bytearray] = {}
        self._value = bytearray()
        self._size = 0

    def take(self, event: FormEvent) -> None:
        """Add an event of the parser to the fields; raise FieldsTooLarge."""
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

    A part with a content type but without a file name is a file, too. If ``typed`` is False, a text part is not: some
    libraries give each field a type.
    """
    for event in events:
        if isinstance(event, MultipartSegment):
            kind = dict(event.headerlist).get("Content-Type", "")
            if event.filename is not None or (kind and (typed or not kind.lower().startswith("text/"))):
                return as_utf8(event.filename or "")
        fields.take(event)
    raise NoFilePart


def rest_of_file(events: Iterator[FormEvent], fields: FormFields, *, alone: bool = False) -> Iterator[bytes]:
    """Yield the file that has begun, and read the fields after it.

    Only the end of the form shows that the file is whole. Raises InvalidRequest for another file if ``alone`` is True.
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
    """Yield the parser's events for a form; raise NoBoundary or MalformedForm."""
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
    """Return text of a form's headers as UTF-8, which it nearly always is.

    Headers are read as latin-1, because any encoding may come.
    """
    return text.encode("latin-1", "replace").decode("utf-8", "replace")
