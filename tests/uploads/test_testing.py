"""Fixtures that the app provides for the tests of portals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.storage import storages

from portal.models import Document, File, Folder
from uploads.exceptions import ExtensionNotAllowed
from uploads.models import State, UploadSession

Uploaded = Callable[..., UploadSession]


def test_uploaded_fixture_stores_a_file(uploaded: Uploaded, user: User, root: Folder) -> None:
    session = uploaded(user, "a.txt", b"abc", folder_id=root.pk)
    assert session.state == State.COMPLETED
    with File.objects.get(pk=session.file_id).content.open() as content:
        assert content.read() == b"abc"


def test_storage_of_a_field_is_replaced(
    request: pytest.FixtureRequest, settings: Any, uploads_settings: Any, monkeypatch: pytest.MonkeyPatch, user: User
) -> None:
    """Replace also a storage that a callable chose when the model was defined."""
    column = Document._meta.get_field("file")
    nowhere = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": "/nowhere"}}
    settings.STORAGES = settings.STORAGES | {"private": nowhere}
    monkeypatch.setattr(column, "_storage_callable", lambda: storages["private"], raising=False)
    monkeypatch.setattr(column, "storage", storages["private"])
    documents = {"BACKEND": "uploads.destinations.ModelDestination", "OPTIONS": {"model": "portal.Document"}}
    uploads_settings(DESTINATION="", DESTINATIONS={"default": documents})
    session = request.getfixturevalue("uploaded")(user, "a.txt", b"abc")
    assert (session.state, session.storage) == (State.COMPLETED, "private")
    with Document.objects.get().file.open() as content:
        assert content.read() == b"abc"


def test_refused_upload_raises_its_error(uploaded: Uploaded, user: User, root: Folder, uploads_settings: Any) -> None:
    uploads_settings(ALLOWED_EXTENSIONS={".png"})
    with pytest.raises(ExtensionNotAllowed):
        uploaded(user, "a.txt", b"abc", folder_id=root.pk)


def test_upload_session_fixture_opens_a_session(
    upload_session: Uploaded, upload_storage: Any, user: User, root: Folder
) -> None:
    session = upload_session(user, "a.txt", 3, folder_id=root.pk)
    assert (session.state, session.bytes_stored) == (State.OPEN, 0)
    assert not upload_storage.exists(session.object_name)
