"""The database's clock, in the time zone of Django's dates.

The time zone of the connection does not matter.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone


class DatabaseNow(Now):
    """``Now`` with support for ``USE_TZ`` and time zones on MySQL and SQLite."""

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = f"TIMESTAMPADD(MICROSECOND, {_zone_offset()}, UTC_TIMESTAMP(6))"
        return self.as_sql(compiler, connection, template=template, **extra)

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = f"STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', 'NOW', '{_zone_offset() / 10**6:+.0f} seconds')"
        return self.as_sql(compiler, connection, template=template, **extra)


def _zone_offset() -> int:
    """Return the offset of dates in the database from UTC in microseconds.

    It is 0 unless ``USE_TZ`` is off.
    """
    if settings.USE_TZ:
        return 0
    offset = timezone.localtime(datetime.now(UTC), timezone.get_default_timezone()).utcoffset()
    return round(offset.total_seconds() * 10**6) if offset else 0
