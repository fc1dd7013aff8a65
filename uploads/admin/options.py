"""The read-only admin of upload sessions; operators end, extend, retry and release them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import connections
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotModified, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from uploads._internal import owners, sessions
from uploads.admin.actions import ACTIONS, Action, as_admin_action, has_permission
from uploads.admin.advice import advise
from uploads.admin.cells import MAX_COUNTED_ROWS, SessionCells, render, summary
from uploads.admin.filters import DestinationFilter, OwnerFilter, StateFilter, id_starts_with, owned_by_users
from uploads.admin.history import history_of
from uploads.admin.stored import comparison_rows, stored_rows
from uploads.admin.timeline import drawn
from uploads.exceptions import UploadError
from uploads.models import State, UploadSession

if TYPE_CHECKING:
    SessionAdmin = admin.ModelAdmin[UploadSession]
    Pages = Paginator[UploadSession]
else:
    Pages = Paginator
    if apps.is_installed("unfold"):
        from unfold.admin import ModelAdmin as SessionAdmin
    else:
        SessionAdmin = admin.ModelAdmin

MAX_SELECTED_ROWS = 200
"""Maximum sessions per action: each is a form field, and some take a while."""


class SessionList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        owners.attach(self.result_list)


class BoundedPaginator(Pages):
    """Count at most MAX_COUNTED_ROWS rows, because counting a million takes seconds."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:MAX_COUNTED_ROWS].count())


@admin.register(UploadSession)
class UploadSessionAdmin(SessionCells, SessionAdmin):
    list_display = ("file", "state_badge", "progress", "speed", "time_left", "last_activity", "expiry")
    list_filter = (StateFilter, OwnerFilter, "created_at", "updated_at", DestinationFilter, "check_result")
    empty_value_display = "–"
    list_per_page = 50
    list_max_show_all = 0
    paginator = BoundedPaginator
    show_facets = ShowFacets.NEVER
    show_full_result_count = False
    search_fields = ("file_name", "folder_id", "object_name", "file_id", "owner_key")
    search_help_text = _("User name or e-mail, file name, session id or its beginning, folder, object or file id")
    actions = tuple(map(as_admin_action, ACTIONS))
    actions_selection_counter = True
    list_filter_sheet = True  # django-unfold: filters beside the list would push columns out of sight.

    fieldsets = (
        (
            _("File"),
            {"fields": ("id_text", "size", "stored", "way", "destination", "folder_id", "file_id", "check_result")},
        ),
        (
            _("Technical details"),
            {
                "classes": ("collapse",),
                "fields": (
                    "content_type",
                    "file_created_at",
                    "metadata",
                    "checksum",
                    "sha256",
                    "encrypted_text",
                    "created_at",
                    "updated_at",
                    "expires_at",
                    "lease_until",
                    "attempts",
                    "retry_at",
                    "storage",
                    "object_name",
                    "upload_id",
                    "layout_text",
                    "composed",
                    "released_text",
                ),
            },
        ),
    )
    change_form_template = "uploads/admin/change_form.html"
    change_list_template = "uploads/admin/change_list.html"

    class Media:
        css = {"all": ("uploads/admin.css",)}
        js = ("uploads/admin.js",)

    # Permissions and actions

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: UploadSession | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: UploadSession | None = None) -> bool:
        return False

    has_abort_permission = has_permission("abort")
    has_expire_permission = has_permission("expire")
    has_extend_permission = has_permission("extend")
    has_retry_permission = has_permission("retry")
    has_release_permission = has_permission("release")

    def _allowed(self, request: HttpRequest) -> list[Action]:
        return [action for action in ACTIONS if getattr(self, f"has_{action.name}_permission")(request)]

    def _possible(self, request: HttpRequest, session: UploadSession) -> list[Action]:
        """Return the allowed actions that can help, the most helpful first."""
        allowed = {action.name: action for action in self._allowed(request)}
        return [allowed[name] for name in advise(session).actions if name in allowed]

    def ask(self, request: HttpRequest, queryset: QuerySet[UploadSession], action: Action) -> HttpResponseBase | None:
        """Show a confirmation page, which lists the uploads that the action cannot change."""
        if queryset[: MAX_SELECTED_ROWS + 1].count() > MAX_SELECTED_ROWS:
            text = _("Select at most %d uploads at a time.") % MAX_SELECTED_ROWS
            self.message_user(request, text, messages.WARNING)
            return None
        reason = request.POST.get("reason", "").strip()
        if "confirmed" in request.POST and (reason or not action.with_reason):
            self._apply(request, queryset, action, reason)
            return None
        chosen = list(queryset)
        owners.attach(chosen)
        context = {
            **self.admin_site.each_context(request),
            "title": action.label,
            "action": action,
            "possible": [session for session in chosen if action.can_help(session)],
            "others": [(session, advise(session)) for session in chosen if not action.can_help(session)],
            "reason_missing": "confirmed" in request.POST,
            "opts": self.opts,
            "checkbox": ACTION_CHECKBOX_NAME,
            "media": self.media,
        }
        return TemplateResponse(request, "uploads/admin/confirm.html", context)

    def _apply(self, request: HttpRequest, queryset: QuerySet[UploadSession], action: Action, reason: str) -> None:
        done = 0
        extra: dict[str, str] = {"why": reason} if action.with_reason else {}
        for session in queryset:
            if not action.can_help(session):
                self.message_user(request, f"{session}: {advise(session).text}", messages.WARNING)
                continue
            try:
                action.function(session, who=owners.key_of(request.user), **extra)
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
        found, has_duplicates = super().get_search_results(request, queryset, search_term)
        if term := search_term.strip():
            found |= queryset.filter(id_starts_with(term) | owned_by_users(term))
        return found, has_duplicates

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return SessionList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        figures = summary() if request.method == "GET" else ()
        return super().changelist_view(request, {"figures": figures, **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        live = path("live/", self.admin_site.admin_view(self.live_view), name="upload_sessions_uploadsession_live")
        patterns = super().get_urls()
        for pattern in patterns:
            if pattern.name == "upload_sessions_uploadsession_changelist":
                # Actions commit their own transactions, which ATOMIC_REQUESTS must not enclose.
                pattern.callback._non_atomic_requests = frozenset(connections)  # type: ignore[attr-defined]  # noqa: SLF001
        return [live, *patterns]

    def live_view(self, request: HttpRequest) -> HttpResponseBase:
        """Return the live cells of a page's rows, and the figures above a list; 304 if none changed."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        ids = [text for text in request.GET.get("ids", "").split(",")[: self.list_per_page] if _is_id(text)]
        rows = UploadSession.objects.filter(pk__in=ids).defer("result")
        cells: dict[str, Any] = {row.pk.hex: self._changing(row) for row in rows}
        if "figures" in request.GET:
            cells["figures"] = render("figures", figures=summary())
        tag = f'"{hashlib.sha256(json.dumps(cells, default=str, sort_keys=True).encode()).hexdigest()[:32]}"'
        if request.headers.get("If-None-Match") == tag:
            return HttpResponseNotModified(headers={"ETag": tag})
        return JsonResponse(cells, headers={"ETag": tag, "Cache-Control": "private, no-cache"})

    def _changing(self, session: UploadSession) -> dict[str, Any]:
        """Return the cells that change during an upload, its state, and a flag for a live upload."""
        cells = ("state_badge", "progress", "speed", "time_left", "last_activity", "expiry")
        shown = {name: getattr(self, name)(session) for name in cells}
        return {**shown, "state": session.state, "live": session.state == State.OPEN or session.is_finishing}

    # One session

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        session = self.get_object(request, object_id)
        if session is None or not self.has_view_permission(request, session):
            return super().change_view(request, object_id, form_url, extra_context)
        history = history_of(session)
        owners.attach([session, *history])
        context = {
            "session": session,
            **self._changing(session),
            "advice": advise(session),
            "history": history,
            "owner": self.owner_display(session),
            "owner_url": self._owner_url(request, session),
            "client": self.client_text(session),
            "stored": stored_rows(session),
            "stored_count": session.parts.count() + session.fragments.count(),
            "segments": session.segments.all(),
            "drawn": drawn(session),
            "checkbox": ACTION_CHECKBOX_NAME,
            "possible_actions": self._possible(request, session),
            "subtitle": session.file_name,
            "title": _("Upload session"),
            **self._comparison(request, session),
        }
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))

    def _owner_url(self, request: HttpRequest, session: UploadSession) -> str:
        """Return the URL of the owner's page in this admin; "" if there is none for this user."""
        owner = session.owner
        if owner is None or not self.admin_site.is_registered(type(owner)):
            return ""
        if not self.admin_site.get_model_admin(type(owner)).has_view_or_change_permission(request, owner):
            return ""
        opts = owner._meta  # noqa: SLF001 - documented API
        return reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[quote(owner.pk)])

    def _comparison(self, request: HttpRequest, session: UploadSession) -> dict[str, Any]:
        if "compare" not in request.GET:
            return {}
        try:
            return {"comparison": comparison_rows(sessions.compare(session))}
        except UploadError as error:
            return {"comparison_failed": str(error)}


def _is_id(text: str) -> bool:
    return len(text) == 32 and all(character in "0123456789abcdef" for character in text)
