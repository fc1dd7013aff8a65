"""Stores: a store writes received bytes into one of the portal's ``STORAGES``."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, default_storage, storages

from uploads._internal.forks import after_fork
from uploads._internal.stores.filesystem import FileSystemStore

if TYPE_CHECKING:
    from django.core.files.storage import Storage
    from django.db.models import FileField

    from uploads._internal.stores.base import Store

SUPPORTED = "Supported: storages.backends.s3.S3Storage and django.core.files.storage.FileSystemStorage."

_making = Lock()


@after_fork
def _reset() -> None:
    global _making
    _making = Lock()


def get_store(alias: str) -> Store:
    """Return the store that writes to ``STORAGES[alias]``, with its known facts.

    Raises ImproperlyConfigured if no store supports the storage. Raises django.db.Error or StoreUnavailable if the
    facts cannot be loaded.
    """
    store = make_store(alias)
    store.share_facts()
    return store


def make_store(alias: str) -> Store:
    """Return the store that writes to ``STORAGES[alias]``, without any I/O.

    Raises ImproperlyConfigured if no store supports the storage.
    """
    # Each storage has one boto3 client, because creating a client takes a tenth of a second. S3Storage would
    # create one for each thread, although clients are thread-safe. The client lives as long as the storage.
    with _making:
        storage: Any = storages[alias]
        if not hasattr(storage, "upload_store"):
            storage.upload_store = _make_store(alias, storage)
        store: Store = storage.upload_store
        store.alias = alias
        return store


def alias_of(field: FileField) -> str:
    """Return the alias in ``STORAGES`` of a model field's storage.

    Raises ImproperlyConfigured if the storage has no alias.
    """
    # A storage function is called again: tests replace storages, but the field keeps the first result.
    storage = field._storage_callable() if hasattr(field, "_storage_callable") else field.storage  # noqa: SLF001
    if storage is default_storage:
        return "default"
    for alias in storages.backends:
        if storages[alias] in (storage, field.storage):
            return alias
    for alias in storages.backends:
        if _is_same(storages[alias], storage):
            return alias
    kind = f"{type(storage).__module__}.{type(storage).__qualname__}"
    message = f"The storage of {field} is none of STORAGES: add an entry for {kind} with the same options."
    raise ImproperlyConfigured(message)


def _is_same(one: Any, other: Any) -> bool:
    """Return True if two storages were made with the same arguments, such as the instance of a package's field."""
    return type(one) is type(other) and hasattr(one, "deconstruct") and one.deconstruct() == other.deconstruct()


def _make_store(alias: str, storage: Storage) -> Store:
    if isinstance(storage, FileSystemStorage):
        return FileSystemStore(storage)
    try:
        from uploads._internal.stores import s3
    except ImportError:
        pass
    else:
        if isinstance(storage, s3.S3Storage):
            return s3.S3Store(storage)
    kind = f"{type(storage).__module__}.{type(storage).__qualname__}"
    msg = f"STORAGES[{alias!r}] is a {kind}, which uploads cannot write to in parts."
    raise ImproperlyConfigured(msg)
