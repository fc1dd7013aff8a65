"""Inspection of upload sessions: nothing is edited; operators end, extend, retry and release them, by the verbs."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import connections
from django.db.models import Count, Q, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotModified, JsonResponse
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from uploads._internal import owners, sessions
from uploads.destinations import all_aliases
from uploads.exceptions import SessionClosed, UploadError
from uploads.models import MAY_EXPIRE, State, TaskRun, UploadSession

if TYPE_CHECKING:
    SessionAdmin = admin.ModelAdmin[UploadSession]
    Pages = Paginator[UploadSession]
else:
    Pages = Paginator
    if apps.is_installed("unfold"):
        from unfold.admin import ModelAdmin as SessionAdmin
    else:
        SessionAdmin = admin.ModelAdmin

MAX_COUNTED_ROWS = 10_000
"""Rows that are counted, and can be leafed through, at most: so lists stay quick."""
MAX_SELECTED_ROWS = 200
"""Sessions that an action takes at a time: each is a field of a form, and some take a while."""
PARTS_SHOWN = 100
MAX_MAP_CELLS = 240
"""Into how many cells the map of the parts and the curve of the rate are divided."""
CURVE_FROM = 8
"""Parts that a curve needs to say anything."""
STALLED_AFTER = timedelta(minutes=10)
A_MINUTE, A_YEAR = timedelta(minutes=1), timedelta(days=365)


@dataclass(frozen=True)
class Action:
    """Something that an operator does to sessions: after a page that asks, and for the log."""

    name: str
    label: Any
    question: Any
    function: Callable[..., Any]
    logged: str
    possible: Q
    with_reason: bool = False
    dangerous: bool = False


ACTIONS = (
    Action(
        "abort",
        _("Abort"),
        _("Abort these uploads? Their bytes are deleted; their clients have to begin anew."),
        sessions.abort,
        "Aborted.",
        MAY_EXPIRE | Q(state=State.CHECKING),
        dangerous=True,
    ),
    Action(
        "expire",
        _("Expire now"),
        _("Expire these uploads now, as if their time were up? Their bytes are deleted."),
        sessions.expire_now,
        "Expired.",
        MAY_EXPIRE,
        dangerous=True,
    ),
    Action(
        "extend",
        _("Give more time"),
        _("Give these uploads their full lifetime again, from now on?"),
        sessions.extend,
        "Extended.",
        MAY_EXPIRE,
    ),
    Action(
        "retry",
        _("Retry completing"),
        _("Try again to make files of these uploads?"),
        sessions.retry,
        "Completing retried.",
        Q(state=State.FAILED),
    ),
    Action(
        "release",
        _("Release"),
        _("Publish these files although their check refused them, or has not been done?"),
        sessions.release_checked,
        "Released",
        Q(state=State.CHECKING) | Q(state=State.FAILED) & Q(check_result__in=sessions.RELEASABLE),
        with_reason=True,
        dangerous=True,
    ),
)


def _as_admins(action: Action) -> Callable[..., Any]:
    """Return an action as the admin knows it."""

    def ask(modeladmin: UploadSessionAdmin, request: HttpRequest, queryset: QuerySet[UploadSession]) -> Any:
        return modeladmin.ask(request, queryset, action)

    ask.__name__ = action.name
    return admin.action(ask, description=action.label, permissions=[action.name])


def _permission(name: str) -> Callable[[Any, HttpRequest], bool]:
    return lambda _modeladmin, request: request.user.has_perm(f"upload_sessions.{name}_uploadsession")


class SessionList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        owners.attach(self.result_list)


class BoundedPaginator(Pages):
    """Counts no more rows than anybody leafs through: to count a million takes seconds."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:MAX_COUNTED_ROWS].count())


class DestinationFilter(admin.SimpleListFilter):
    title = _("destination")
    parameter_name = "destination"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        known = all_aliases()
        return [(alias, alias) for alias in known] if len(known) > 1 else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[UploadSession]) -> QuerySet[UploadSession]:
        return queryset.filter(destination=self.value()) if self.value() else queryset


@admin.register(UploadSession)
class UploadSessionAdmin(SessionAdmin):
    list_display = ("file", "state_badge", "progress", "speed", "time_left", "last_activity", "expiry")
    list_filter = ("state", DestinationFilter, "check_result", "created_at")
    list_per_page = 50
    list_max_show_all = 0
    paginator = BoundedPaginator
    show_facets = ShowFacets.NEVER
    show_full_result_count = False
    search_fields = ("file_name", "folder_id", "object_name", "file_id", "owner_key")
    search_help_text = _("File name, session id, folder, object or file id")
    actions = tuple(map(_as_admins, ACTIONS))
    actions_selection_counter = True
    list_filter_sheet = True  # django-unfold: filters beside the list would push columns out of sight.

    fieldsets = (
        (None, {"fields": ("id", "file_name", "whose", "client_text", "failure", "check_result")}),
        (
            _("File"),
            {
                "fields": (
                    "destination",
                    "folder_id",
                    "content_type",
                    "file_created_at",
                    "metadata",
                    "checksum",
                    "sha256",
                    "encrypted",
                    "file_id",
                )
            },
        ),
        (_("Time"), {"fields": ("created_at", "updated_at", "expires_at", "lease_until", "attempts", "retry_at")}),
        (
            _("Storage"),
            {
                "fields": (
                    "storage",
                    "object_name",
                    "upload_id",
                    "layout",
                    "bytes_composed",
                    "storage_released",
                )
            },
        ),
    )
    change_form_template = "uploads/admin/change_form.html"
    change_list_template = "uploads/admin/change_list.html"

    class Media:
        css = {"all": ("uploads/admin.css",)}
        js = ("uploads/admin.js",)

    # What may be done

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: UploadSession | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: UploadSession | None = None) -> bool:
        return False

    has_abort_permission = _permission("abort")
    has_expire_permission = _permission("expire")
    has_extend_permission = _permission("extend")
    has_retry_permission = _permission("retry")
    has_release_permission = _permission("release")

    def _allowed(self, request: HttpRequest) -> list[Action]:
        return [action for action in ACTIONS if getattr(self, f"has_{action.name}_permission")(request)]

    def ask(self, request: HttpRequest, queryset: QuerySet[UploadSession], action: Action) -> HttpResponseBase | None:
        """Ask before anything is done, and say of which uploads it cannot be."""
        if queryset[: MAX_SELECTED_ROWS + 1].count() > MAX_SELECTED_ROWS:
            text = _("Choose at most %d uploads at a time.") % MAX_SELECTED_ROWS
            self.message_user(request, text, messages.WARNING)
            return None
        reason = request.POST.get("reason", "").strip()
        if "confirmed" in request.POST and (reason or not action.with_reason):
            self._apply(request, queryset, action, reason)
            return None
        chosen = list(queryset)
        owners.attach(chosen)
        possible = set(queryset.filter(action.possible).values_list("pk", flat=True))
        context = {
            **self.admin_site.each_context(request),
            "title": action.label,
            "action": action,
            "possible": [session for session in chosen if session.pk in possible],
            "others": [session for session in chosen if session.pk not in possible],
            "reason_missing": "confirmed" in request.POST,
            "opts": self.opts,
            "checkbox": ACTION_CHECKBOX_NAME,
            "media": self.media,
        }
        return TemplateResponse(request, "uploads/admin/confirm.html", context)

    def _apply(self, request: HttpRequest, queryset: QuerySet[UploadSession], action: Action, reason: str) -> None:
        done = 0
        said: dict[str, str] = {"why": reason} if action.with_reason else {}
        possible = set(queryset.filter(action.possible).values_list("pk", flat=True))
        for session in queryset:
            try:
                if session.pk not in possible:
                    raise SessionClosed(state=session.get_state_display())
                action.function(session, who=owners.key_of(request.user), **said)
            except UploadError as error:
                self.message_user(request, f"{session}: {error}", messages.WARNING)
            else:
                self.log_change(request, session, f"{action.logged}: {reason}" if reason else action.logged)
                done += 1
        text = ngettext("%d upload session was changed.", "%d upload sessions were changed.", done) % done
        self.message_user(request, text, messages.SUCCESS if done else messages.INFO)

    # Lists

    def get_queryset(self, request: HttpRequest) -> QuerySet[UploadSession]:
        return super().get_queryset(request).defer("result")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[UploadSession], search_term: str
    ) -> tuple[QuerySet[UploadSession], bool]:
        # Ids are shown without dashes, and some databases keep them with.
        try:
            return queryset.filter(pk=uuid.UUID(hex=search_term)), False
        except ValueError:
            pass
        return super().get_search_results(request, queryset, search_term)

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return SessionList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        numbers = numbers_of_today() if request.method == "GET" else ()
        return super().changelist_view(request, {"numbers": numbers, **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        live = path("live/", self.admin_site.admin_view(self.live_view), name="upload_sessions_uploadsession_live")
        patterns = super().get_urls()
        for pattern in patterns:
            if pattern.name == "upload_sessions_uploadsession_changelist":
                # Its actions are the verbs, which commit what they do: ATOMIC_REQUESTS is for other views.
                pattern.callback._non_atomic_requests = frozenset(connections)  # type: ignore[attr-defined]  # noqa: SLF001
        return [live, *patterns]

    def live_view(self, request: HttpRequest) -> HttpResponseBase:
        """Tell what changes in the rows of a page, with one query; 304 if nothing did."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        ids = [text for text in request.GET.get("ids", "").split(",")[: self.list_per_page] if _is_id(text)]
        rows = UploadSession.objects.filter(pk__in=ids).defer("result")
        said = {row.pk.hex: self._changing(row) for row in rows}
        tag = f'"{hashlib.sha256(json.dumps(said, default=str, sort_keys=True).encode()).hexdigest()[:32]}"'
        if request.headers.get("If-None-Match") == tag:
            return HttpResponseNotModified(headers={"ETag": tag})
        return JsonResponse(said, headers={"ETag": tag, "Cache-Control": "private, no-cache"})

    def _changing(self, session: UploadSession) -> dict[str, Any]:
        """Return the cells that change while an upload goes on, and whether it does."""
        cells = ("state_badge", "progress", "speed", "time_left", "last_activity", "expiry")
        shown = {name: getattr(self, name)(session) for name in cells}
        return {**shown, "live": session.state == State.OPEN or session.is_finishing}

    # One session

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        session = self.get_object(request, object_id)
        if session is None or not self.has_view_permission(request, session):
            return super().change_view(request, object_id, form_url, extra_context)
        rows = UploadSession.objects.filter(pk=session.pk)
        possible = [action for action in self._allowed(request) if rows.filter(action.possible).exists()]
        context = {
            "session": session,
            **self._changing(session),
            "moves": session.moves.all(),
            "parts": session.parts.all()[:PARTS_SHOWN],
            "part_count": session.parts.count(),
            "fragments": session.fragments.all()[:PARTS_SHOWN],
            "fragment_count": session.fragments.count(),
            "segments": session.segments.all(),
            "drawn": drawn(session),
            "checkbox": ACTION_CHECKBOX_NAME,
            "possible_actions": possible,
            "subtitle": session.file_name,
            "title": _("Upload session"),
            **self._comparison(request, session),
        }
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))

    def _comparison(self, request: HttpRequest, session: UploadSession) -> dict[str, Any]:
        if "compare" not in request.GET:
            return {}
        try:
            return {"comparison": sessions.compare(session)}
        except UploadError as error:
            return {"comparison_failed": str(error)}

    # Cells

    @admin.display(description=_("file"), ordering="file_name")
    def file(self, session: UploadSession) -> SafeString:
        return _cell("file", session=session, whose=self.whose(session))

    @admin.display(description=_("owner"), ordering="owner_key")
    def whose(self, session: UploadSession) -> str:
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
    """Return what the page says on top, each with its name; by indexes, and nothing is counted without end."""
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
        (_("stored of them"), filesizeformat(opened["stored"])),
        (_("completed today"), ended(State.COMPLETED)),
        (_("failed today"), ended(State.FAILED)),
        (_("on their way"), _some(state=State.COMPLETING).count() + _some(state=State.CHECKING).count()),
        (_("last run of the task"), _ago(ran) if ran else gettext("never")),
    ]


def _some(**wanted: Any) -> QuerySet[UploadSession]:
    return UploadSession.objects.filter(**wanted).order_by()[:MAX_COUNTED_ROWS]


@dataclass(frozen=True)
class Drawing:
    """What the page of a session draws: where in the file its bytes are, and how quickly they came."""

    cells: list[tuple[int, int, float]]
    """Place, width and share of each run of cells of the map that have bytes."""
    curve: str
    """Points of a line, x from 0 to MAX_MAP_CELLS, y from 0 (the fastest) to 40; empty if there are too few parts."""
    quickest: str
    width: int = MAX_MAP_CELLS


def drawn(session: UploadSession) -> Drawing | None:
    """Return the drawing, or None for a session without bytes, or with too many parts to draw each."""
    rows = list(session.parts.values_list("offset", "size", "created_at")[:MAX_COUNTED_ROWS])
    fragments = session.fragments.values_list("chunk", "offset", "size", "created_at")[:MAX_COUNTED_ROWS]
    for chunk, offset, size, at in fragments:
        rows.append((offset + max(0, chunk - 1) * (session.chunk_size or size), size, at))
    if not rows or len(rows) >= MAX_COUNTED_ROWS or not session.file_size:
        return None
    rows.sort(key=lambda row: row[2])
    cells: dict[int, float] = {}
    for offset, size, _at in rows:
        first, last = offset * MAX_MAP_CELLS / session.file_size, (offset + size) * MAX_MAP_CELLS / session.file_size
        for cell in range(int(first), min(MAX_MAP_CELLS, int(last) + 1)):
            cells[cell] = min(1.0, cells.get(cell, 0.0) + min(last, cell + 1) - max(first, cell))
    began, seconds = session.created_at, max(1.0, (rows[-1][2] - session.created_at).total_seconds())
    steps = [0] * (min(60, len(rows)) + 1)
    for _offset, size, at in rows:
        share = max(0.0, (at - began).total_seconds()) / seconds
        steps[min(len(steps) - 1, int(share * (len(steps) - 1)))] += size
    most = max(steps)
    points = (f"{x * MAX_MAP_CELLS / (len(steps) - 1):.1f},{40 - 40 * size / most:.1f}" for x, size in enumerate(steps))
    quickest = f"{filesizeformat(most * (len(steps) - 1) / seconds)}/s"
    return Drawing(_runs(cells), " ".join(points) if len(rows) >= CURVE_FROM else "", quickest)


def _runs(cells: dict[int, float]) -> list[tuple[int, int, float]]:
    runs: list[tuple[int, int, float]] = []
    for cell, exactly in sorted(cells.items()):
        share = round(exactly, 2)
        if runs and runs[-1][0] + runs[-1][1] == cell and runs[-1][2] == share:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1, share)
        else:
            runs.append((cell, 1, share))
    return runs


def _ago(at: datetime) -> str:
    return gettext("%s ago") % timesince(at, depth=1) if timezone.now() - at >= A_MINUTE else gettext("just now")


def _cell(name: str, **context: object) -> SafeString:
    return mark_safe(render_to_string(f"uploads/admin/{name}.html", context).strip())  # noqa: S308 - autoescaped there


def _rate(session: UploadSession) -> float:
    """Return bytes a second from creation to the last activity."""
    seconds = (session.updated_at - session.created_at).total_seconds()
    return session.bytes_stored / seconds if seconds > 0 else 0.0


def _is_id(text: str) -> bool:
    return len(text) == 32 and all(character in "0123456789abcdef" for character in text)
