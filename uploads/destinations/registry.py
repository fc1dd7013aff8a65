"""Destinations by their aliases."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

from uploads._internal import conf
from uploads._internal.conf import DEFAULT_ALIAS, PARTIAL
from uploads.destinations.base import Destination
from uploads.exceptions import NotFound

if TYPE_CHECKING:
    from uploads.models import UploadSession


FORMS = "forms"
"""The alias of the destination that keeps files until a form takes them."""
_BUILT_IN = {FORMS: "uploads.forms.destination.FormDestination"}


def aliases() -> list[str]:
    """Return the aliases in the settings."""
    return list(_all())


def all_aliases() -> list[str]:
    """Return all aliases, including built-in ones."""
    return list(_BUILT_IN | _all())


def configured(alias: str) -> dict[str, Any]:
    """Return the long form of a destination's settings; raise NotFound for an unknown alias."""
    if alias.endswith(PARTIAL):
        backend = "uploads._internal.protocols.tus.partial.PartialDestination"
        return {"BACKEND": backend, "OPTIONS": {"whole": alias.removesuffix(PARTIAL)}}
    try:
        entry = (_BUILT_IN | _all())[alias]
    except KeyError as error:
        raise NotFound from error
    return {"BACKEND": entry} if isinstance(entry, str) else entry


def get_destination(alias: str = DEFAULT_ALIAS) -> Destination:
    """Return the portal's destination with that alias; raise NotFound if there is none."""
    entry = configured(alias)
    destination: Destination = import_string(entry["BACKEND"])(**entry.get("OPTIONS", {}))
    destination.alias = alias
    return destination


def storages_in_use() -> list[str]:
    """Return the aliases of the storages of all valid destinations."""
    found: dict[str, None] = {}
    for alias in aliases():
        with suppress(Exception):  # Many types are possible; another check reports them.
            found |= dict.fromkeys(get_destination(alias).storages)
    return list(found)


def destination_of(session: UploadSession) -> Destination:
    """Return the destination of the session."""
    return get_destination(session.destination)


def _all() -> dict[str, Any]:
    config = conf.current()
    single = {DEFAULT_ALIAS: config.DESTINATION} if config.DESTINATION else {}
    return single | dict(config.DESTINATIONS)
