"""Actions of operators on sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from uploads._internal import sessions
from uploads.admin.advice import advise
from uploads.models import UploadSession


@dataclass(frozen=True)
class Action:
    """An operator's action on sessions, which needs a confirmation and is logged."""

    name: str
    label: Any
    question: Any
    function: Callable[..., Any]
    logged: str
    moves: bool = True
    """True if the action changes the state, so that the session's history has it."""
    with_reason: bool = False
    dangerous: bool = False

    def can_help(self, session: UploadSession) -> bool:
        return self.name in advise(session).actions


ACTIONS = (
    Action(
        "abort",
        _("Abort"),
        _("Abort these uploads? Their stored bytes are deleted; clients must start over."),
        sessions.abort,
        "Aborted.",
        dangerous=True,
    ),
    Action(
        "expire",
        _("Expire now"),
        _("Expire these uploads now? Their stored bytes are deleted."),
        sessions.expire_now,
        "Expired.",
        dangerous=True,
    ),
    Action(
        "extend",
        _("Extend"),
        _("Extend these uploads? Their full lifetime starts again now."),
        sessions.extend,
        "Extended.",
        moves=False,
    ),
    Action(
        "retry",
        _("Retry completion"),
        _("Retry the completion of these uploads?"),
        sessions.retry,
        "Completion retried.",
    ),
    Action(
        "release",
        _("Release"),
        _("Publish these files although their check refused them or is not done?"),
        sessions.release_checked,
        "Released",
        with_reason=True,
        dangerous=True,
    ),
)


def as_admin_action(action: Action) -> Callable[..., Any]:
    """Return the action as a function for the admin's ``actions``."""

    def ask(modeladmin: Any, request: HttpRequest, queryset: QuerySet[UploadSession]) -> Any:
        return modeladmin.ask(request, queryset, action)

    ask.__name__ = action.name
    return admin.action(ask, description=action.label, permissions=[action.name])


def has_permission(name: str) -> Callable[[Any, HttpRequest], bool]:
    return lambda _modeladmin, request: request.user.has_perm(f"upload_sessions.{name}_uploadsession")
