"""Inspection of upload sessions: nothing is edited here, sessions are only ended or retried through the verbs."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince, timeuntil
from django.utils.timezone import template_localtime  # type: ignore[attr-defined]
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from uploads import owners, sessions
from uploads.exceptions import UploadError
from uploads.models import State, UploadSession

if TYPE_CHECKING:
    SessionAdmin = admin.ModelAdmin[UploadSession]
else:
    SessionAdmin = admin.ModelAdmin

PARTS_SHOWN = 100
_COLOURS = {
    State.OPEN: "#417690",
    State.COMPLETING: "#b07d00",
    State.COMPLETED: "#3c7a3c",
    State.FAILED: "#ba2121",
}


def _moment(at: datetime) -> str:
    return date_format(template_localtime(at), "DATETIME_FORMAT")


class SessionList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        owners.attach(self.result_list)


@admin.register(UploadSession)
class UploadSessionAdmin(SessionAdmin):
    list_display = (
        "file_name",
        "whose",
        "folder_id",
        "state_badge",
        "progress",
        "speed",
        "last_activity",
        "expiry",
    )
    list_filter = ("state", "encrypted", "storage", "created_at")
    list_per_page = 50
    search_fields = ("file_name", "id", "folder_id", "object_name", "file_id", "owner_key")
    search_help_text = _("File name, session id, folder, object or file id")
    date_hierarchy = "created_at"
    show_full_result_count = False
    actions = ("abort", "expire_now", "retry")
    fieldsets = (
        (None, {"fields": ("id", "file_name", "whose", "state_badge", "failure", "progress", "speed")}),
        (
            _("File"),
            {"fields": ("folder_id", "path", "content_type", "file_created_at", "checksum", "encrypted", "file_id")},
        ),
        (
            _("Time"),
            {"fields": ("created_at", "updated_at", "expires_at", "lease_until", "attempts", "retry_at", "history")},
        ),
        (
            _("Storage"),
            {
                "fields": (
                    "storage",
                    "object_name",
                    "upload_id",
                    "part_size",
                    "segmented",
                    "segment",
                    "bytes_composed",
                    "bytes_spare",
                    "storage_released",
                    "parts_stored",
                )
            },
        ),
    )

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

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: UploadSession | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: UploadSession | None = None) -> bool:
        return False

    def has_end_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("upload_sessions.end_uploadsession")

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return SessionList

    @admin.display(description=_("owner"), ordering="owner_key")
    def whose(self, session: UploadSession) -> str:
        return session.owner_key if session.owner is None else str(session.owner)

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, session: UploadSession) -> SafeString:
        style = "color:#fff;border-radius:9px;padding:1px 8px;white-space:nowrap;background:"
        colour = _COLOURS.get(State(session.state), "#777")
        return format_html('<span style="{}{}">{}</span>', style, colour, session.get_state_display())

    @admin.display(description=_("progress"), ordering="file_size")
    def progress(self, session: UploadSession) -> SafeString:
        share = session.bytes_stored / session.file_size if session.file_size else float(session.is_whole)
        return format_html(
            '<span style="white-space:nowrap"><progress max="1" value="{}" style="width:5em;vertical-align:middle">'
            "</progress> {}</span>",
            f"{share:.4f}",
            _("%(percent)d %% of %(size)s") % {"percent": int(share * 100), "size": filesizeformat(session.file_size)},
        )

    @admin.display(description=_("speed"))
    def speed(self, session: UploadSession) -> str:
        seconds = (session.updated_at - session.created_at).total_seconds()
        return f"{filesizeformat(session.bytes_stored / seconds)}/s" if seconds and session.bytes_stored else "–"

    @admin.display(description=_("last activity"), ordering="updated_at")
    def last_activity(self, session: UploadSession) -> str:
        return _("%s ago") % timesince(session.updated_at, depth=1)

    @admin.display(description=_("expires"), ordering="expires_at")
    def expiry(self, session: UploadSession) -> str:
        return _("in %s") % timeuntil(session.expires_at, depth=1) if session.state == State.OPEN else "–"

    @admin.display(description=_("CRC-32"))
    def checksum(self, session: UploadSession) -> str:
        return "–" if session.crc32 is None else f"{session.crc32:08x}"

    @admin.display(description=_("history"))
    def history(self, session: UploadSession) -> SafeString:
        rows = format_html_join(
            "",
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            (
                (
                    date_format(template_localtime(move.at), "DATETIME_FORMAT"),
                    move.get_after_display(),
                    move.why,
                    move.who or "–",
                )
                for move in session.moves.all()
            ),
        )
        return format_html("<table><tbody>{}</tbody></table>", rows) if rows else SafeString("–")

    @admin.display(description=_("parts"))
    def parts_stored(self, session: UploadSession) -> SafeString:
        count = session.parts.count()
        rows = format_html_join(
            "",
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            (
                (part.number or _("waiting for more bytes"), part.offset, part.size, f"{part.crc32:08x}", part.etag)
                for part in session.parts.all()[:PARTS_SHOWN]
            ),
        )
        head = format_html_join(
            "", "<th>{}</th>", ((name,) for name in (_("part"), _("offset"), _("bytes"), _("CRC-32"), _("ETag")))
        )
        more = _("… and %d more") % (count - PARTS_SHOWN) if count > PARTS_SHOWN else ""
        return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>{}", head, rows, more)

    @admin.action(description=_("Abort selected upload sessions"), permissions=["end"])
    def abort(self, request: HttpRequest, queryset: QuerySet[UploadSession]) -> None:
        self._apply(request, queryset, sessions.abort, "Aborted.")

    @admin.action(description=_("Expire selected upload sessions now"), permissions=["end"])
    def expire_now(self, request: HttpRequest, queryset: QuerySet[UploadSession]) -> None:
        self._apply(request, queryset, sessions.expire_now, "Expired.")

    @admin.action(description=_("Retry completing selected failed sessions"), permissions=["end"])
    def retry(self, request: HttpRequest, queryset: QuerySet[UploadSession]) -> None:
        self._apply(request, queryset.filter(state=State.FAILED), sessions.retry, "Completing retried.")

    def _apply(
        self,
        request: HttpRequest,
        queryset: QuerySet[UploadSession],
        verb: Callable[..., Any],
        logged: str,
    ) -> None:
        done = 0
        for session in queryset:
            try:
                verb(session, who=owners.key_of(request.user))
            except UploadError as error:
                self.message_user(request, f"{session}: {error}", messages.WARNING)
            else:
                self.log_change(request, session, logged)
                done += 1
        text = ngettext("%d upload session was changed.", "%d upload sessions were changed.", done) % done
        self.message_user(request, text, messages.SUCCESS if done else messages.INFO)
