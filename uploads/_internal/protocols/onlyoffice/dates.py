"""Dates in the forms that the protocol's clients write and read."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

_DASHED_TIME = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)(.*)$")
_DECODED_PLUS = re.compile(r"(T.*) (\d\d:?\d\d)$")
"""An offset whose plus became a space, because the client did not encode it in a query or form."""
_SPARE_DIGITS = re.compile(r"(\.\d{6})\d+")


def format_date(moment: datetime) -> str:
    """Return ``moment`` in UTC with seven fractional digits, which some clients expect."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0Z"


def parse(text: str) -> datetime:
    """Return the moment of an ISO date or time; raise ValueError if it is malformed.

    Also accepts the protocol's own ``2008-04-10T06-30-00.000Z``. Without an offset, the current time zone applies.
    """
    iso = _SPARE_DIGITS.sub(r"\1", _DASHED_TIME.sub(r"\1T\2:\3:\4\5", text.strip()))
    iso = _DECODED_PLUS.sub(r"\1+\2", iso)
    moment = parse_datetime(iso)
    if moment is None:
        day = parse_date(iso)
        if day is None:
            msg = f"{text!r} is not a date"
            raise ValueError(msg)
        moment = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - made aware below
    aware = timezone.make_aware(moment) if timezone.is_naive(moment) else moment
    # An offset may move the first or last day of the calendar out of range.
    try:
        return aware.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(text) from error
