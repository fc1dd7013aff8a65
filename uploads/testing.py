"""Pytest fixtures for portals: ``pytest_plugins = ["uploads.testing"]`` in a portal's ``conftest.py``.

Files are stored in a temporary directory of the test, not in the portal's storages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from uploads._internal import conf, sessions
from uploads._internal.conf import DEFAULT_ALIAS
from uploads._internal.sessions import Chunk, FileRequest
from uploads._internal.stores import alias_of
from uploads.destinations import ModelDestination, aliases, get_destination
from uploads.destinations.registry import storages_in_use
from uploads.models import UploadSession

BLOCK = 2**20


@pytest.fixture
def upload_storage(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Store uploads in a temporary directory of the test; return the storage."""
    from django.core.files.storage import default_storage, storages

    storage = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(tmp_path / "uploads")},
    }
    used = [conf.current().STORAGE, *storages_in_use()]
    settings.STORAGES = settings.STORAGES | dict.fromkeys(used, storage)
    for destination in map(get_destination, aliases()):
        if isinstance(destination, ModelDestination) and destination.column.storage is not default_storage:
            monkeypatch.setattr(destination.column, "storage", storages[alias_of(destination.column)])
    return storages[used[-1]]


@pytest.fixture
def upload_session(db: None, upload_storage: Any) -> Callable[..., UploadSession]:
    """Create a user's session, as a client would: ``upload_session(user, "a.txt", 3, folder_id="12")``."""

    def open_session(
        user: Any, name: str, size: int, *, folder_id: object = "", destination: str = DEFAULT_ALIAS, **options: Any
    ) -> UploadSession:
        request = FileRequest(name=name, size=size, destination=destination, **options)
        return sessions.create(user, str(folder_id), request)

    return open_session


@pytest.fixture
def uploaded(upload_session: Callable[..., UploadSession]) -> Callable[..., UploadSession]:
    """Upload a file in one line, as a client would: ``uploaded(user, "a.txt", b"abc", folder_id="12")``.

    Returns the ``completed`` session, whose ``file_id`` is the portal's file. Raises the error if it is refused.
    """

    def upload(user: Any, name: str, content: bytes, **options: Any) -> UploadSession:
        session = upload_session(user, name, len(content), **options)

        def blocks() -> Iterator[bytes]:
            for start in range(0, len(content), BLOCK):
                yield content[start : start + BLOCK]

        return sessions.receive(session, Chunk(blocks(), at_most=len(content)))

    return upload
