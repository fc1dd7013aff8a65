"""Read the protocol's requests: their fields and chunks, in any spelling."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.core.exceptions import TooManyFieldsSent
from django.http import QueryDict
from django.http.request import HttpRequest

from uploads._internal.http.body import django_request, read_blocks, read_fields_body, require_identity
from uploads._internal.http.multipart import content_type, first_file, form_fields, is_form
from uploads._internal.http.requests import body_options, json_object, read_query, read_range
from uploads._internal.protocols.onlyoffice import conf
from uploads._internal.protocols.onlyoffice.duplicates import read_fingerprint
from uploads._internal.sessions import Chunk
from uploads.exceptions import InvalidRequest

if TYPE_CHECKING:
    from rest_framework.request import Request


def read_chunk(request: Request) -> Chunk:
    """Return the chunk of the request: a form's first file, or the whole body."""
    http = django_request(request)
    require_identity(http)
    return Chunk(
        first_file(http) if is_form(http) else read_blocks(http),
        start=read_number(request, "offset"),
        range=read_range(http),
        fingerprint=read_fingerprint(http),
        rules=conf.current().rules,
        **body_options(http),
    )


def read_chunk_number(request: Request) -> int | None:
    """Return the number of the chunk, or None without one.

    Raises InvalidRequest if the query has a similar field instead of chunkNumber.
    """
    number = read_number(request, "chunknumber")
    meant = [name for name in read_query(request) if number is None and re.search("chunk|number|part|index", name)]
    if meant:
        message = f"The number of the chunk is called chunkNumber, not {meant[0]}."
        raise InvalidRequest(message)
    return number


def read_number(request: Request, name: str) -> int | None:
    """Return a number of the query, or None without it; raise InvalidRequest if malformed."""
    text = read_query(request).get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        message = f"{name} must be a number."
        raise InvalidRequest(message)
    return int(text)


def read_fields(request: Request, *, is_list: bool = False) -> dict[str, Any]:
    """Return the fields of the query and of a form or JSON body.

    Clients of the protocol spell names in any case, so names are returned in lower case. Some clients send a wrong
    Content-Type or none for JSON. ``is_list`` works as in ``read_fields_body``.
    """
    http = django_request(request)
    return read_query(http) | {name.lower(): value for name, value in _body_fields(http, is_list=is_list).items()}


def _body_fields(request: HttpRequest, *, is_list: bool) -> dict[str, Any]:
    if is_form(request):
        return form_fields(request, is_list=is_list)
    kind = content_type(request)[0]
    data = read_fields_body(request, is_list=is_list)
    if not data:
        return {}
    if kind == "application/x-www-form-urlencoded":
        try:
            return QueryDict(data, encoding="utf-8").dict()
        except TooManyFieldsSent as error:
            raise InvalidRequest(str(error)) from error
    return json_object(data)
