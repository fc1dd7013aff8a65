"""Headers of either protocol: numbers, booleans, dates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.utils.http import http_date

from uploads.exceptions import InvalidRequest

if TYPE_CHECKING:
    from django.http import HttpRequest

    from uploads.models import UploadSession

LONGEST_NUMBER = 18
"""Digits; what has more is larger than any file, and counts as the smallest of these."""


def number(request: HttpRequest, name: str) -> int | None:
    """Return the header's number, None if it is not there; raise InvalidRequest if it is none."""
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
"""Parameters mean nothing here, but have to be some (RFC 9651, 3.1.2)."""
_INTEGER = re.compile(r"(\d{1,15})" + _PARAMETERS)
_BOOLEAN = re.compile(r"\?([01])" + _PARAMETERS)


def integer(request: HttpRequest, name: str) -> int | None:
    """Return the number of a structured field (RFC 9651); what is none counts as not sent, says the draft."""
    match = _INTEGER.fullmatch(request.headers.get(name, "").strip(" "))
    return int(match[1]) if match else None


def boolean(request: HttpRequest, name: str) -> bool | None:
    """Return the boolean of a structured field, likewise."""
    match = _BOOLEAN.fullmatch(request.headers.get(name, "").strip(" "))
    return match[1] == "1" if match else None


def _digits(text: str) -> int | None:
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        return None
    text = text.lstrip("0")
    return int(text or 0) if len(text) <= LONGEST_NUMBER else 10**LONGEST_NUMBER


def expires(session: UploadSession) -> str:
    """Return when an unfinished upload expires, as HTTP writes dates."""
    return http_date(session.expires_at.timestamp())
