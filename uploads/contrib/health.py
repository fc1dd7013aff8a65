"""A check of the store of uploads, for a portal's health page."""

from __future__ import annotations

from uploads._internal.conf import DEFAULT_ALIAS
from uploads._internal.stores import get_store
from uploads._internal.stores.names import probe_under


def check_store(alias: str = DEFAULT_ALIAS) -> None:
    """Raise an error if uploads to ``STORAGES[alias]`` cannot work.

    Reasons are an unavailable store or a file system that is not mounted. The check makes one request. It may hang as
    long as the storage's own timeouts allow, so call it with a deadline.
    """
    get_store(alias).require_reachable(probe_under("health"))
