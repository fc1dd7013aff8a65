"""Headers of either protocol: numbers, booleans, dates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.http import http_date

from uploads.exceptions import InvalidRequest

if TYPE_CHECKING:
    from django.http import HttpRequest

    from uploads.models import UploadSession

LONGEST_NUMBER = 18


def number(request: HttpRequest, name: str) -> int | None:
    """Return the header's number, None if it is not there; raise InvalidRequest if it is none."""
    text = request.headers.get(name)
    if text is None:
        return None
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER):
        message = f"{name} must be a number of bytes."
        raise InvalidRequest(message)
    return int(text)


def required_number(request: HttpRequest, name: str) -> int:
    """Return the header's number; raise InvalidRequest if it has none."""
    value = number(request, name)
    if value is None:
        message = f"{name} is missing."
        raise InvalidRequest(message)
    return value


def expires(session: UploadSession) -> str:
    """Return when an unfinished upload expires, as HTTP writes dates."""
    return http_date(session.expires_at.timestamp())
