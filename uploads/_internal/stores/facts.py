"""Facts about stores, kept in the database for all processes and hosts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db import router, transaction


@dataclass
class Facts:
    """Known facts about one store."""

    marker: str = ""
    """Content of the file that marks the store's directory."""
    capabilities: dict[str, bool] = field(default_factory=dict)
    """Detected capabilities: True if the store accepts an operation, False if it refuses it."""


def load(store: str) -> Facts:
    """Return the known facts about a store; raise django.db.Error if the database fails."""
    row = _rows().filter(name=_key(store)).first()
    return Facts(row.marker, dict(row.capabilities)) if row else Facts()


def save(store: str, facts: Facts) -> Facts:
    """Save facts about a store; return them merged with facts from other processes.

    A marker that is already in the database takes precedence.
    """
    rows, name = _rows(), _key(store)
    rows.get_or_create(name=name, defaults={"marker": facts.marker})
    with transaction.atomic(using=rows.db):
        row = rows.select_for_update().get(name=name)
        row.marker = row.marker or facts.marker
        row.capabilities |= facts.capabilities
        row.save()
    return Facts(row.marker, dict(row.capabilities))


def forget_capabilities(store: str) -> None:
    """Delete a store's detected capabilities, because its version may have changed."""
    _rows().filter(name=_key(store)).update(capabilities={})


def _rows() -> Any:
    # Looked up by name, because the models import the stores.
    model = apps.get_model("upload_sessions", "StoreRecord")
    return model._default_manager.using(router.db_for_write(model))  # noqa: SLF001 - Django's documented API


def _key(store: str) -> str:
    """Return a key that is short enough for every database and still names the store."""
    return f"{store[:180]} {hashlib.sha256(store.encode()).hexdigest()[:16]}"
