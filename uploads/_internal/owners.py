"""Whose a session is: text that names any principal, a row of the portal or not.

A foreign key would tie the sessions to one table in their own database. Portals keep them in another one, and let
service accounts and holders of a token upload who are no rows at all.
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
"""Numbers and UUIDs: nothing that a database could take for something else."""


class Owned(Protocol):
    """An upload session."""

    owner_key: str


def key_of(user: Any) -> str:
    """Return the text that names ``user``: the kind, and the key within it.

    Kinds are kept apart, so that a service account never is the user that happens to have the same number; so are keys
    that some databases' collations take for the same.
    """
    kind = user.__class__  # of what a lazy object stands for
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
    """Find the owners of many sessions with one query for each kind of them."""
    by_kind: dict[str, dict[str, list[Owned]]] = defaultdict(lambda: defaultdict(list))
    for session in sessions:
        kind, _, key = session.owner_key.partition(":")
        by_kind[kind][re.sub("#[0-9a-f]{16}$", "", key)].append(session)
    for kind, by_key in by_kind.items():
        found = _find(kind, by_key)
        for key, owned in by_key.items():
            for session in owned:
                vars(session)["owner"] = found.get(key)  # what the cached property keeps


def _find(kind: str, keys: Iterable[str]) -> dict[str, Any]:
    try:
        model = apps.get_model(kind)
        typed = [model._meta.pk.to_python(key) for key in keys]  # noqa: SLF001
    except (LookupError, ValueError, ValidationError):
        return {}  # Not a row, or of a model that the portal no longer has.
    # Without a hint: the router would look for users where the sessions are.
    users = model._base_manager.using(router.db_for_write(model))  # noqa: SLF001
    return {str(user.pk): user for user in users.filter(pk__in=typed)}
