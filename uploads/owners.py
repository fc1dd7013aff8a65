"""Whose a session is: text that names any principal, a row of the portal or not.

A foreign key would tie the sessions to one table in their own database. Portals keep them in another one, and let
service accounts and holders of a token upload who are no rows at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Protocol

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db.models import Model


class Owned(Protocol):
    """An upload session."""

    owner_key: str


def key_of(user: Any) -> str:
    """Return the text that names ``user``: the kind, and the key within it.

    Kinds are kept apart, so that a service account never is the user that happens to have the same number.
    """
    kind = user.__class__  # of what a lazy object stands for
    if issubclass(kind, Model):
        return f"{kind._meta.concrete_model._meta.label_lower}:{user.pk}"  # noqa: SLF001 - Django's documented API
    key = getattr(user, "pk", None) or getattr(user, "id", None) or user
    return f"{kind.__module__}.{kind.__qualname__}:{key}"[:255]


def attach(sessions: Iterable[Owned]) -> None:
    """Find the owners of many sessions with one query for each kind of them."""
    by_kind: dict[str, dict[str, list[Owned]]] = defaultdict(lambda: defaultdict(list))
    for session in sessions:
        kind, _, key = session.owner_key.partition(":")
        by_kind[kind][key].append(session)
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
    return {str(user.pk): user for user in model._base_manager.filter(pk__in=typed)}  # noqa: SLF001
