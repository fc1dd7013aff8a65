"""Fixtures that the app provides for the tests of portals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.storage import storages
from django.test import Client, TestCase

from portal.models import Document, File, Folder
from uploads.exceptions import ExtensionNotAllowed
from uploads.models import State, UploadSession
from uploads.testing import temporary_storage, upload, upload_token

PAGE = "/documents/"
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


def test_storage_instance_of_a_field_is_replaced(
    request: pytest.FixtureRequest, settings: Any, monkeypatch: pytest.MonkeyPatch, client: Client, user: User
) -> None:
    """The model was defined with the storage itself, not with a function that returns it."""
    column = Document._meta.get_field("file")
    nowhere = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": "/nowhere"}}
    settings.STORAGES = settings.STORAGES | {"private": nowhere}
    monkeypatch.setattr(column, "storage", storages["private"])
    storage = request.getfixturevalue("upload_storage")
    client.force_login(user)
    token = upload_token(client, client.get(PAGE), "file", "a.txt", b"abc")
    assert client.post(PAGE, {"title": "x", "file-token": token}).status_code == 302
    assert UploadSession.objects.get().storage == "private"
    with Document.objects.get().file.open() as content, storage.open(content.name) as same:
        assert content.read() == same.read() == b"abc"


def test_token_helper_explains_refusals(client: Client, user: User, upload_storage: Any) -> None:
    with pytest.raises(AssertionError, match="no upload field 'file'"):
        upload_token(client, client.get("/accounts/login/"), "file", "a.txt", b"abc")
    client.force_login(user)
    with pytest.raises(AssertionError, match="extension_not_allowed"):
        upload_token(client, client.get(PAGE), "file", "a.exe", b"abc")


class WithoutPytest(TestCase):
    def setUp(self) -> None:
        self.storage = self.enterContext(temporary_storage())
        self.user = User.objects.create(username="unittest")
        self.client.force_login(self.user)

    def test_view_takes_uploaded_files(self) -> None:
        page = self.client.get(PAGE)
        attached = [upload_token(self.client, page, "attachments", name, b"abc") for name in ("b.txt", "a.txt")]
        token = upload_token(self.client, page, "file", "a.pdf", b"abcd")
        answer = self.client.post(PAGE, {"title": "x", "file-token": token, "attachments-token": attached})
        assert answer.status_code == 302
        names = [Path(str(one.file)).name for one in Document.objects.get().attachments.order_by("pk")]
        assert names == ["b.txt", "a.txt"], "files are in the order of the form"

    def test_destination_takes_uploaded_files(self) -> None:
        folder = Folder.objects.create(owner=self.user, title="Root")
        session = upload(self.user, "a.txt", b"abc", folder_id=folder.pk)
        assert self.storage.exists(session.object_name)
