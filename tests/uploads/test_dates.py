from __future__ import annotations

from datetime import UTC, datetime

import pytest

from uploads._internal.protocols.onlyoffice import dates


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2008-04-10T06-30-00.000Z", datetime(2008, 4, 10, 6, 30, tzinfo=UTC)),
        ("2008-04-10T06:30:00.000Z", datetime(2008, 4, 10, 6, 30, tzinfo=UTC)),
        ("2008-04-10T06:30:00.1234567Z", datetime(2008, 4, 10, 6, 30, 0, 123456, tzinfo=UTC)),
        ("2008-04-10T09:30:00+03:00", datetime(2008, 4, 10, 6, 30, tzinfo=UTC)),
        ("2008-04-10T09-30-00.0000000+03:00", datetime(2008, 4, 10, 6, 30, tzinfo=UTC)),
        ("2008-04-10T09:30:00.000 03:00", datetime(2008, 4, 10, 6, 30, tzinfo=UTC)),
        ("2008-04-10 06:30", datetime(2008, 4, 10, 6, 30, tzinfo=UTC)),
        ("2008-04-10", datetime(2008, 4, 10, tzinfo=UTC)),
    ],
)
def test_parse_accepts_common_formats(text: str, moment: datetime) -> None:
    assert dates.parse(text) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "2008-13-10", "2008-04-10T25:00:00Z", "9999-12-31T23:59:59-23:59"])
def test_unreadable_date_raises_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the caller writes the message
        dates.parse(text)


def test_format_has_seven_fractional_digits() -> None:
    assert dates.format_date(datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)) == "2026-01-02T03:04:05.6789010Z"
