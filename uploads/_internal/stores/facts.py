"""What is known of a store, kept in the database where all processes and hosts see it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db import router, transaction


@dataclass
class Facts:
    """What is known of one store."""

    marker: str = ""
    """What the file that marks the store's directory holds."""
    capabilities: dict[str, bool] = field(default_factory=dict)
    """What the store was found to take, or to refuse."""


def load(store: str) -> Facts:
    """Return what is known of a store; raise django.db.Error if the database does not tell."""
    row = _rows().filter(name=_key(store)).first()
    return Facts(row.marker, dict(row.capabilities)) if row else Facts()


def save(store: str, facts: Facts) -> Facts:
    """Keep what became known of a store; return it with what others learned meanwhile. Their marker counts."""
    rows, name = _rows(), _key(store)
    rows.get_or_create(name=name, defaults={"marker": facts.marker})
    with transaction.atomic(using=rows.db):
        row = rows.select_for_update().get(name=name)
        row.marker = row.marker or facts.marker
        row.capabilities |= facts.capabilities
        row.save()
    return Facts(row.marker, dict(row.capabilities))


def forget_capabilities(store: str) -> None:
    """Forget what a store was found to take: it may be another version now."""
    _rows().filter(name=_key(store)).update(capabilities={})


def _rows() -> Any:
    # By its name: models import the stores.
    model = apps.get_model("upload_sessions", "StoreRecord")
    return model._default_manager.using(router.db_for_write(model))  # noqa: SLF001 - Django's documented API


def _key(store: str) -> str:
    """Return a key that is short enough for every database, and still tells people which store it is."""
    return f"{store[:180]} {hashlib.sha256(store.encode()).hexdigest()[:16]}"
