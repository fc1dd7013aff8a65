"""For a portal's health page: whether the store of uploads can be reached."""

from __future__ import annotations

from uploads._internal.conf import DEFAULT_ALIAS
from uploads._internal.stores import get_store
from uploads._internal.stores.names import probe_under


def check_store(alias: str = DEFAULT_ALIAS) -> None:
    """Raise what keeps uploads from ``STORAGES[alias]``: the store is away, or its file system is not mounted.

    Makes one request. It may hang as long as the storage's own timeouts allow: call it with a deadline.
    """
    get_store(alias).require_reachable(probe_under("health"))
