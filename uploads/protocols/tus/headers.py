"""Headers of either protocol: numbers, booleans, dates."""

from __future__ import annotations

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


def integer(request: HttpRequest, name: str) -> int | None:
    """Return the number of a structured field (RFC 9651); one of another type counts as not sent, says the draft."""
    return _digits(request.headers.get(name, "").partition(";")[0])


def _digits(text: str) -> int | None:
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        return None
    text = text.lstrip("0")
    return int(text or 0) if len(text) <= LONGEST_NUMBER else 10**LONGEST_NUMBER


def expires(session: UploadSession) -> str:
    """Return when an unfinished upload expires, as HTTP writes dates."""
    return http_date(session.expires_at.timestamp())
