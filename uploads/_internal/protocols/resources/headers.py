"""Read and write headers of both protocols: numbers, booleans and dates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.utils.http import http_date

from uploads.exceptions import InvalidRequest

if TYPE_CHECKING:
    from django.http import HttpRequest

    from uploads.models import UploadSession

LONGEST_NUMBER = 18
"""Maximum digits of a number. A longer number exceeds any file and counts as ``10**18``."""


def number(request: HttpRequest, name: str) -> int | None:
    """Return the header's number, None without the header; raise InvalidRequest if it is malformed."""
    text = request.headers.get(name)
    if text is None:
        return None
    value = _digits(text)
    if value is None:
        message = f"{name} must be a number of bytes."
        raise InvalidRequest(message)
    return value


_PARAMETERS = r"""(?x:(?: ; [ ]* [a-z*][a-z0-9_.*-]* (?: =
    (?: -?\d{1,15} | -?\d{1,12}\.\d{1,3} | @-?\d{1,15} | \?[01] | :[A-Za-z0-9+/=]*:
      | "(?:[ !\#-\[\]-~]|\\["\\])*" | [A-Za-z*][A-Za-z0-9:/!\#$%&'*+.^_`|~-]* ) )? )*)"""
"""Parameters are ignored, but must be well-formed (RFC 9651, 3.1.2)."""
_INTEGER = re.compile(r"(\d{1,15})" + _PARAMETERS)
_BOOLEAN = re.compile(r"\?([01])" + _PARAMETERS)


def integer(request: HttpRequest, name: str) -> int | None:
    """Return the integer of a structured field (RFC 9651).

    A malformed field counts as missing, as the draft demands.
    """
    match = _INTEGER.fullmatch(request.headers.get(name, "").strip(" "))
    return int(match[1]) if match else None


def boolean(request: HttpRequest, name: str) -> bool | None:
    """Return the boolean of a structured field; a malformed field counts as missing."""
    match = _BOOLEAN.fullmatch(request.headers.get(name, "").strip(" "))
    return match[1] == "1" if match else None


def _digits(text: str) -> int | None:
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        return None
    text = text.lstrip("0")
    return int(text or 0) if len(text) <= LONGEST_NUMBER else 10**LONGEST_NUMBER


def expires(session: UploadSession) -> str:
    """Return the expiry of an unfinished upload as an HTTP date."""
    return http_date(session.expires_at.timestamp())
