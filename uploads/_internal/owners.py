"""Owners of sessions: text that names any principal, with or without a row.

A foreign key would tie the sessions to one table in their own database. Portals keep sessions and users in separate
databases, and let service accounts and token holders upload, which have no rows at all.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Protocol

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import router
from django.db.models import Model

LONGEST = 255
_PLAIN = re.compile(r"\d{1,30}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Numbers and UUIDs, which no database confuses with another key."""


class Owned(Protocol):
    """An upload session."""

    owner_key: str


def key_of(user: Any) -> str:
    """Return the text that names ``user``: its kind, and its key within the kind.

    The kind distinguishes a service account from a user with the same number. A digest distinguishes keys that the
    collations of some databases treat as equal.
    """
    kind = user.__class__  # Of a lazy object, this is the class of the object behind it.
    if issubclass(kind, Model) and user.pk is not None:
        return _named(kind._meta.concrete_model._meta.label_lower, str(user.pk))  # noqa: SLF001 - documented API
    return _named(f"{kind.__module__}.{kind.__qualname__}", _key_within(user, kind))


def _key_within(user: Any, kind: type) -> str:
    for name in ("pk", "id", "username"):
        if getattr(user, name, None) not in (None, ""):
            return str(getattr(user, name))
    return str(user) if "__str__" in vars(kind) else ""


def _named(kind: str, key: str) -> str:
    if _PLAIN.fullmatch(key) and len(kind) + len(key) < LONGEST:
        return f"{kind}:{key}"
    digest = hashlib.sha256(f"{kind}:{key}".encode()).hexdigest()[:16]
    return f"{f'{kind}:{key}'[: LONGEST - 17]}#{digest}"


def attach(sessions: Iterable[Owned]) -> None:
    """Set the owners of many sessions with one query for each kind of owner."""
    by_kind: dict[str, dict[str, list[Owned]]] = defaultdict(lambda: defaultdict(list))
    for session in sessions:
        kind, _, key = session.owner_key.partition(":")
        by_kind[kind][re.sub("#[0-9a-f]{16}$", "", key)].append(session)
    for kind, by_key in by_kind.items():
        found = _find(kind, by_key)
        for key, owned in by_key.items():
            for session in owned:
                vars(session)["owner"] = found.get(key)  # The value of the cached property.


def _find(kind: str, keys: Iterable[str]) -> dict[str, Any]:
    try:
        model = apps.get_model(kind)
        typed = [model._meta.pk.to_python(key) for key in keys]  # noqa: SLF001
    except (LookupError, ValueError, ValidationError):
        return {}  # Not a row, or a row of a model that the portal no longer has.
    # No hint, or the router would look for users in the database of the sessions.
    users = model._base_manager.using(router.db_for_write(model))  # noqa: SLF001
    return {str(user.pk): user for user in users.filter(pk__in=typed)}
