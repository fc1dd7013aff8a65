from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from portal import tidy
from portal.destination import PortalDestination
from portal.models import File, Folder
from tests.helpers import Uploader, chunk_of
from uploads._internal import sessions
from uploads._internal.stores.base import Store
from uploads.models import State, UploadSession

OpenSession = Callable[..., UploadSession]
pytestmark = pytest.mark.usefixtures("file_store", "small_chunks")


def upload(uploader: Uploader, data: bytes, **fields: object) -> dict[str, object]:
    answer = uploader.send(uploader.create(len(data), name="report.tar.gz", **fields), data)
    return dict(answer.json()["data"])


def test_same_name_creates_a_new_version(uploader: Uploader, file_store: Store) -> None:
    first, second = upload(uploader, b"one"), upload(uploader, b"two!")
    assert (second["id"], second["version"]) == (first["id"], 2)
    file = File.objects.get()
    assert b"".join(file_store.read(str(file.content.name))) == b"two!"
    before = file.previous_versions.get()
    assert b"".join(file_store.read(str(before.content.name))) == b"one"


def test_create_new_if_exist_numbers_titles(uploader: Uploader) -> None:
    titles = [upload(uploader, b"x", createNewIfExist=True)["title"] for _ in range(3)]
    assert titles == ["report.tar.gz", "report.tar (1).gz", "report.tar (2).gz"]


def test_numbered_title_respects_length_limit(open_session: OpenSession) -> None:
    name = "x" * 300 + ".docx"
    titles = [sessions.receive(open_session(1, name, create_new=True), chunk_of(b"x")).result for _ in range(2)]
    assert [len(result["title"]) for result in titles if result] == [255, 255]


def test_object_is_adopted_under_its_name(open_session: OpenSession, file_store: Store) -> None:
    session = sessions.receive(open_session(3), chunk_of(b"abc"))
    assert File.objects.get().content.name == session.object_name


@pytest.mark.parametrize("delete", [Folder.delete, tidy.put_into_trash])
def test_deleted_folder_fails_the_session(
    open_session: OpenSession, root: Folder, delete: Callable[[Folder], object]
) -> None:
    session = open_session(3)
    delete(root)
    session = sessions.receive(session, chunk_of(b"abc"))
    assert (session.state, session.failure) == (State.FAILED, "The folder does not exist.")


def test_upload_leaves_trashed_file_alone(uploader: Uploader, api: APIClient) -> None:
    old = upload(uploader, b"one", RelativePath="sub")
    tidy.put_into_trash(File.objects.get())
    new = upload(uploader, b"two!", RelativePath="sub")
    assert (new["title"], new["version"], new["folderId"]) == (old["title"], 1, old["folderId"])
    assert str(File.objects.get(trashed__isnull=False).pk) == str(old["id"])
    edit = api.post(f"/api/2.0/files/file/{old['id']}/edit_session?fileSize=1")
    assert edit.status_code == 404
    tidy.put_into_trash(Folder.objects.get(title="sub"))
    assert upload(uploader, b"three", RelativePath="sub")["folderId"] != old["folderId"]


def test_trash_counts_toward_the_quota(
    uploader: Uploader, settings: Any, user: User, open_session: OpenSession
) -> None:
    settings.QUOTA = 10
    sessions.receive(open_session(4), chunk_of(b"four"))
    file = File.objects.get()
    tidy.put_into_trash(file)
    assert PortalDestination().free_space(user) == 6
    assert PortalDestination().in_use([str(file.content)]) == {str(file.content)}
