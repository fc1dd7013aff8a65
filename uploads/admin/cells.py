"""Cells of the session list, and the figures above it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet, Sum
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from uploads.models import State, TaskRun, UploadSession

MAX_COUNTED_ROWS = 10_000
"""Maximum number of rows that are counted and paginated, so that lists stay fast."""
STALLED_AFTER = timedelta(minutes=10)
A_MINUTE, A_YEAR = timedelta(minutes=1), timedelta(days=365)


class SessionCells:
    """Methods that format the cells of the list and of a session's page."""

    @admin.display(description=_("file"), ordering="file_name")
    def file(self, session: UploadSession) -> SafeString:
        return _cell("file", session=session, owner=self.owner_display(session))

    @admin.display(description=_("owner"), ordering="owner_key")
    def owner_display(self, session: UploadSession) -> str:
        return session.owner_key if session.owner is None else str(session.owner)

    @admin.display(description=_("client"))
    def client_text(self, session: UploadSession) -> str:
        return ", ".join(filter(None, (session.client.get("address"), session.client.get("name")))) or "–"

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, session: UploadSession) -> SafeString:
        return _cell("state", session=session)

    @admin.display(description=_("progress"), ordering="file_size")
    def progress(self, session: UploadSession) -> SafeString:
        done, total = session.bytes_stored, session.file_size
        if session.state == State.COMPLETING and session.is_segmented:
            done = session.bytes_composed
        share = done / total if total and session.size_known else float(session.is_whole)
        return _cell("progress", session=session, share=f"{share:.4f}", percent=int(share * 100))

    @admin.display(description=_("rate"))
    def speed(self, session: UploadSession) -> str:
        rate = _rate(session)
        return f"{filesizeformat(rate)}/s" if rate else "–"

    @admin.display(description=_("time left"))
    def time_left(self, session: UploadSession) -> str:
        rate = _rate(session)
        if session.state != State.OPEN or not session.size_known or not rate:
            return "–"
        if timezone.now() - session.updated_at > STALLED_AFTER:
            return gettext("stalled")
        seconds = session.remaining / rate
        if seconds > A_YEAR.total_seconds():
            return "–"
        now, left = timezone.now(), timedelta(seconds=seconds)
        return timesince(now, now + left, depth=1) if left >= A_MINUTE else gettext("seconds")

    @admin.display(description=_("last activity"), ordering="updated_at")
    def last_activity(self, session: UploadSession) -> str:
        return _ago(session.updated_at)

    @admin.display(description=_("expires"), ordering="expires_at")
    def expiry(self, session: UploadSession) -> str:
        if session.state not in (State.OPEN, State.FAILED):
            return "–"
        return gettext("in %s") % timeuntil(session.expires_at, depth=1)

    @admin.display(description=_("CRC-32"))
    def checksum(self, session: UploadSession) -> str:
        return "–" if session.crc32 is None else f"{session.crc32:08x}"

    @admin.display(description=_("metadata"))
    def metadata(self, session: UploadSession) -> str:
        return "; ".join(f"{name}: {value}" for name, value in session.metadata.items()) or "–"


def numbers_of_today() -> list[tuple[Any, Any]]:
    """Return the named summary figures above the list; counts use indexes and are capped."""
    now = timezone.now()
    today = timezone.localtime(now) if timezone.is_aware(now) else now
    since = today.replace(hour=0, minute=0, second=0, microsecond=0)
    stalled = Count("pk", filter=Q(updated_at__lt=now - STALLED_AFTER))
    opened = _some(state=State.OPEN).aggregate(
        count=Count("pk"), stalled=stalled, stored=Sum("bytes_stored", default=0)
    )

    def ended(state: State) -> int:
        return _some(state=state, storage_released=False, updated_at__gte=since).count()

    ran = TaskRun.objects.filter(name="expire").values_list("ran_at", flat=True).first()
    return [
        (_("open"), opened["count"]),
        (_("stalled"), opened["stalled"]),
        (_("stored of open uploads"), filesizeformat(opened["stored"])),
        (_("completed today"), ended(State.COMPLETED)),
        (_("failed today"), ended(State.FAILED)),
        (_("finishing"), _some(state=State.COMPLETING).count() + _some(state=State.CHECKING).count()),
        (_("last task run"), _ago(ran) if ran else gettext("never")),
    ]


def _some(**wanted: Any) -> QuerySet[UploadSession]:
    return UploadSession.objects.filter(**wanted).order_by()[:MAX_COUNTED_ROWS]


def _ago(at: datetime) -> str:
    return gettext("%s ago") % timesince(at, depth=1) if timezone.now() - at >= A_MINUTE else gettext("just now")


def _cell(name: str, **context: object) -> SafeString:
    return mark_safe(render_to_string(f"uploads/admin/{name}.html", context).strip())  # noqa: S308 - autoescaped there


def _rate(session: UploadSession) -> float:
    """Return bytes per second from creation to the last activity."""
    seconds = (session.updated_at - session.created_at).total_seconds()
    return session.bytes_stored / seconds if seconds > 0 else 0.0
