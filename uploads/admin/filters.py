"""Filters of the session list, and its search by user."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import models, router
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from uploads._internal import owners
from uploads.admin.advice import STALLED_AFTER
from uploads.destinations import all_aliases
from uploads.models import FINISHING, State, UploadSession

Sessions = QuerySet[UploadSession]
MAX_FOUND_USERS = 200
_ID_START = re.compile(r"[0-9a-f]{4,32}")


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return [*State.choices, ("stalled", _("stalled")), ("finishing", _("being completed or checked"))]

    def queryset(self, request: HttpRequest, queryset: Sessions) -> Sessions:
        wanted = {"stalled": stalled(), "finishing": FINISHING}
        state = self.value()
        return queryset.filter(wanted.get(state, Q(state=state))) if state else queryset


class OwnerFilter(admin.SimpleListFilter):
    """Filter by the owner in ``?owner=``: the key of a session's owner, or the primary key of a user."""

    title = _("owner")
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        value = self.value()
        if not value:
            return []
        shown = UploadSession(owner_key=self._key(value))
        return [(value, shown.owner_key if shown.owner is None else str(shown.owner))]

    def queryset(self, request: HttpRequest, queryset: Sessions) -> Sessions:
        value = self.value()
        return queryset.filter(owner_key=self._key(value)) if value else queryset

    @staticmethod
    def _key(value: str) -> str:
        return value if ":" in value else owners.key_of(get_user_model()(pk=value))


class DestinationFilter(admin.SimpleListFilter):
    title = _("destination")
    parameter_name = "destination"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        known = all_aliases()
        return [(alias, alias) for alias in known] if len(known) > 1 else []

    def queryset(self, request: HttpRequest, queryset: Sessions) -> Sessions:
        return queryset.filter(destination=self.value()) if self.value() else queryset


def stalled() -> Q:
    return Q(state=State.OPEN, updated_at__lt=timezone.now() - STALLED_AFTER)


def id_starts_with(term: str) -> Q:
    """Match the first characters of an id, with or without dashes; nothing if ``term`` is no part of an id."""
    digits = term.lower().replace("-", "")
    if not _ID_START.fullmatch(digits):
        return Q(pk__in=[])
    if len(digits) == 32:
        return Q(pk=uuid.UUID(digits))
    # Some databases store the dashes. Django removes them for the others.
    groups = digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]
    return Q(pk__startswith="-".join(filter(None, groups)))


def owned_by_users(term: str) -> Q:
    """Match the sessions of the users whose name or e-mail address contains ``term``."""
    model = get_user_model()
    wanted = {model.USERNAME_FIELD, getattr(model, "EMAIL_FIELD", "email")}
    fields = [field for field in model._meta.concrete_fields if field.name in wanted]  # noqa: SLF001 - documented API
    texts = [field.name for field in fields if isinstance(field, models.CharField)]
    contains = Q(*((f"{name}__icontains", term) for name in texts), _connector=Q.OR) if texts else Q(pk__in=[])
    # Users may be in another database than sessions, so there is no join.
    users = model._base_manager.using(router.db_for_write(model)).filter(contains)  # noqa: SLF001
    return Q(owner_key__in=[owners.key_of(user) for user in users[:MAX_FOUND_USERS]])
