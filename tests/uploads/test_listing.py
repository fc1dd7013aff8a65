"""Test the list of uploads that a user can resume."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from portal.models import Folder
from tests.uploads.test_tus import Client
from uploads._internal.http import listing
from uploads.models import UploadSession

pytestmark = pytest.mark.usefixtures("file_store")


def names(api: APIClient, url: str = "/tus/") -> list[str]:
    answer = api.get(url)
    assert answer.status_code == 200, answer.content
    return [upload["name"] for upload in answer.json()["uploads"]]


def test_pages_list_each_upload_once(
    api: APIClient, root: Folder, monkeypatch: pytest.MonkeyPatch, other_user: User
) -> None:
    """List the user's own unfinished uploads, also those with equal creation times."""
    monkeypatch.setattr(listing, "PAGE", 3)
    client = Client(api)
    for number in range(8):
        client.create(10, name=f"{number}.bin")
    UploadSession.objects.update(created_at=timezone.now())
    client.delete(client.create(10, name="ended.bin")["Location"])
    client.create(10, name="late.bin")
    UploadSession.objects.filter(file_name="late.bin").update(expires_at=timezone.now() - timedelta(seconds=1))
    stranger = APIClient()
    stranger.force_authenticate(other_user)
    assert names(stranger) == []
    found: list[str] = []
    payload: Any = {"next": ""}
    while payload["next"] is not None:
        payload = api.get("/tus/", {"after": payload["next"]}).json()
        found += [upload["name"] for upload in payload["uploads"]]
    assert sorted(found) == [f"{number}.bin" for number in range(8)]


def test_folder_page_lists_uploads_begun_there(api: APIClient, user: User, root: Folder) -> None:
    """List uploads begun in the folder, including those into its subfolders.

    Uploads begun in a subfolder or elsewhere are not listed.
    """
    other = Folder.objects.create(owner=user, parent=root, ancestors=root.path, title="other")
    below: Any = {"HTTP_UPLOAD_METADATA": "filename YS5iaW4=,relativePath c3ViL2EuYmlu"}
    here, there = Client(api, root), Client(api, other)
    assert there.create(10, **below).status_code == 201
    there.create(10, name="b.bin")
    assert sorted(names(api, there.endpoint)) == ["a.bin", "b.bin"]
    deep = Folder.objects.create(owner=user, parent=root, ancestors=root.path, title="third")
    assert names(api, Client(api, deep).endpoint) == []
    assert names(api, here.endpoint) == []
    here.create(10, **(below | {"HTTP_UPLOAD_METADATA": "filename YS5iaW4=,relativePath b3RoZXIvYS5iaW4="}))
    assert names(api, here.endpoint) == ["a.bin"]
    assert sorted(names(api, there.endpoint)) == ["a.bin", "b.bin"]


@pytest.mark.parametrize(
    "after",
    [
        "x",
        "~",
        "2026-01-01T00:00:00~x",
        "0001-01-01T00:00:00+14:00~" + "0" * 32,
        "9999-12-31T23:59:59-14:00~" + "0" * 32,
    ],
)
def test_invalid_cursor_is_refused(api: APIClient, root: Folder, after: str) -> None:
    answer = api.get("/tus/", {"after": after})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_active_upload_is_listed_as_sending(
    api: APIClient, root: Folder, uploads_settings: Callable[..., None]
) -> None:
    payload: Any = Client(api).create(10)
    UploadSession.objects.update(lease_until=timezone.now() + timedelta(minutes=1))
    (upload,) = api.get("/tus/").json()["uploads"]
    assert upload["sending"] is True
    assert payload["Location"].endswith(upload["upload"])


def test_numbered_uploads_are_listed_separately(api: APIClient, root: Folder) -> None:
    """Sequential clients cannot resume numbered uploads; GET reports their state."""
    Client(api).create(10, name="in order.bin")
    payload = {"filename": "numbered.bin", "type": "", "metadata": {"size": "10"}}
    pk = api.post("/uppy/s3/multipart", payload, format="json").json()["uploadId"]
    part = api.put(f"/uppy/s3/multipart/{pk}/1", b"1234567890", content_type="application/octet-stream")
    assert part.status_code == 200
    assert names(api) == ["in order.bin"]
    assert "numbered.bin" in names(api, "/tus/?numbered")
    reported = api.get(f"/tus/{pk}").json()
    assert (reported["state"], reported["offset"], reported["length"]) == ("open", 10, 10)
