"""Cells of the session list, and the figures above it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Count, Q, QuerySet, Sum
from django.template.defaultfilters import filesizeformat, yesno
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from uploads.admin.advice import is_stalled
from uploads.admin.filters import stalled
from uploads.models import FINISHING, Mode, State, TaskRun, UploadSession

MAX_COUNTED_ROWS = 10_000
"""Maximum number of rows that are counted and paginated, so that lists stay fast."""
KIB = 1024
WAYS = {
    Mode.SEQUENTIAL: _("through the portal, in order"),
    Mode.NUMBERED: _("through the portal, in numbered chunks"),
    Mode.DIRECT: _("straight to the store"),
}
A_MINUTE, A_YEAR = timedelta(minutes=1), timedelta(days=365)


class SessionCells:
    """Methods that format the cells of the list and of a session's page."""

    @admin.display(description=_("file"), ordering="file_name")
    def file(self, session: UploadSession) -> SafeString:
        return render("file", session=session, owner=self.owner_display(session))

    @admin.display(description=_("owner"), ordering="owner_key")
    def owner_display(self, session: UploadSession) -> str:
        return session.owner_key if session.owner is None else str(session.owner)

    @admin.display(description=_("client"))
    def client_text(self, session: UploadSession) -> str:
        return ", ".join(filter(None, (session.client.get("address"), session.client.get("name")))) or "–"

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, session: UploadSession) -> SafeString:
        return render("state", session=session, stalled=is_stalled(session))

    @admin.display(description=_("progress"), ordering="file_size")
    def progress(self, session: UploadSession) -> SafeString:
        done, total = session.bytes_stored, session.file_size
        if session.state == State.COMPLETING and session.is_segmented:
            done = session.bytes_composed
        share = done / total if total and session.size_known else float(session.is_whole)
        return render("progress", session=session, share=f"{share:.4f}", percent=int(share * 100))

    @admin.display(description=_("rate"))
    def speed(self, session: UploadSession) -> str:
        rate = _rate(session)
        return f"{filesizeformat(rate)}/s" if rate and _flows(session) else "–"

    @admin.display(description=_("time left"))
    def time_left(self, session: UploadSession) -> str:
        rate = _rate(session)
        if not session.size_known or not rate or not _flows(session):
            return "–"
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
        return session.crc or "–"

    @admin.display(description=_("metadata"))
    def metadata(self, session: UploadSession) -> str:
        return "; ".join(f"{name}: {value}" for name, value in session.metadata.items()) or "–"

    @admin.display(description=_("id"))
    def id_text(self, session: UploadSession) -> str:
        return session.pk.hex

    @admin.display(description=_("size"))
    def size(self, session: UploadSession) -> str:
        text = size_text(session.file_size)
        return text if session.size_known else gettext("at most %s") % text

    @admin.display(description=_("bytes stored"))
    def stored(self, session: UploadSession) -> str:
        return size_text(session.bytes_stored)

    @admin.display(description=_("way of the bytes"))
    def way(self, session: UploadSession) -> str:
        if session.mode == Mode.DIRECT and not session.layout.get("checked"):
            return gettext("straight to the store, without checksums")
        return str(WAYS.get(Mode(session.mode), "–"))

    @admin.display(description=_("bytes composed"))
    def composed(self, session: UploadSession) -> str:
        return size_text(session.bytes_composed)

    @admin.display(description=_("layout"))
    def layout_text(self, session: UploadSession) -> str:
        shown = {name: n for name, n in session.layout.items() if name != "checked"}
        texts = (f"{name}: {size_text(n) if name.endswith('_size') else n}" for name, n in shown.items())
        return "; ".join(texts) or "–"

    @admin.display(description=_("encrypted"))
    def encrypted_text(self, session: UploadSession) -> str:
        return str(yesno(session.encrypted))

    @admin.display(description=_("released in the store"))
    def released_text(self, session: UploadSession) -> str:
        return str(yesno(session.storage_released))


@dataclass(frozen=True)
class Figure:
    """A figure above the list; ``query`` filters the list to what it counts."""

    label: Any
    value: Any
    query: str = ""


def summary() -> list[Figure]:
    """Return the figures above the list; counts use indexes and are capped."""
    now = timezone.now()
    today = timezone.localtime(now) if timezone.is_aware(now) else now
    since = today.replace(hour=0, minute=0, second=0, microsecond=0)
    opened = _some(state=State.OPEN).aggregate(
        count=Count("pk"), stalled=Count("pk", filter=stalled()), stored=Sum("bytes_stored", default=0)
    )
    # The same values as the choice Today of Django's filter, which shows it as selected.
    of_today = {"updated_at__gte": since, "updated_at__lt": since + timedelta(days=1)}

    def ended(state: State) -> tuple[int, str]:
        count = _some(state=state, storage_released=False, updated_at__gte=since).count()
        return count, urlencode({"state": state, **of_today})

    ran = TaskRun.objects.filter(name="expire").values_list("ran_at", flat=True).first()
    return [
        Figure(_("open"), opened["count"], "state=open"),
        Figure(_("stored in open uploads"), filesizeformat(opened["stored"]), "state=open"),
        Figure(_("stalled"), opened["stalled"], "state=stalled"),
        Figure(_("completed today"), *ended(State.COMPLETED)),
        Figure(_("failed today"), *ended(State.FAILED)),
        Figure(_("being completed or checked"), _some(FINISHING).count(), "state=finishing"),
        Figure(_("tasks last ran"), _ago(ran) if ran else gettext("never")),
    ]


def size_text(size: int) -> str:
    """Return a size for people, and the exact number of bytes: 11.8 MB (12,345,678 bytes)."""
    exact = gettext("%(n)s bytes") % {"n": number_format(size, force_grouping=True)}
    return f"{filesizeformat(size)} ({exact})" if size >= KIB else filesizeformat(size)


def _some(*conditions: Q, **wanted: Any) -> QuerySet[UploadSession]:
    return UploadSession.objects.filter(*conditions, **wanted).order_by()[:MAX_COUNTED_ROWS]


def _ago(at: datetime) -> str:
    return gettext("%s ago") % timesince(at, depth=1) if timezone.now() - at >= A_MINUTE else gettext("just now")


def render(name: str, **context: object) -> SafeString:
    """Render a template that is also part of the answers for live pages."""
    return mark_safe(render_to_string(f"uploads/admin/{name}.html", context).strip())  # noqa: S308 - autoescaped there


def _flows(session: UploadSession) -> bool:
    """Return whether bytes arrive: a client has the lease, or has just sent a chunk."""
    now = timezone.now()
    writes = session.lease_until is not None and session.lease_until > now
    is_recent = writes or now - session.updated_at < A_MINUTE
    return session.state == State.OPEN and session.remaining > 0 and is_recent


def _rate(session: UploadSession) -> float:
    """Return bytes per second from creation to the last activity."""
    seconds = (session.updated_at - session.created_at).total_seconds()
    return session.bytes_stored / seconds if seconds > 0 else 0.0
