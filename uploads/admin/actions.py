"""What operators may do to sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from uploads._internal import sessions
from uploads.models import MAY_EXPIRE, State, UploadSession


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


def as_admin_action(action: Action) -> Callable[..., Any]:
    """Return an action as the admin knows it."""

    def ask(modeladmin: Any, request: HttpRequest, queryset: QuerySet[UploadSession]) -> Any:
        return modeladmin.ask(request, queryset, action)

    ask.__name__ = action.name
    return admin.action(ask, description=action.label, permissions=[action.name])


def has_permission(name: str) -> Callable[[Any, HttpRequest], bool]:
    return lambda _modeladmin, request: request.user.has_perm(f"upload_sessions.{name}_uploadsession")
