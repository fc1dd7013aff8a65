"""Manual changes to folders, names and versions, and their effect on stored objects."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import requests
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from portal import tidy
from portal.models import File, Folder, PreviousVersion
from tests.helpers import Uploader
from uploads._internal.stores.base import Store

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.fixture
def browser(client: Client, user: User, file_store: Store, root: Folder) -> Client:
    client.force_login(user)
    return client


def upload(uploader: Uploader, content: bytes, name: str = "a.txt") -> File:
    uploader.send(uploader.create(len(content), name=name), content)
    return File.objects.get(title=name, trashed=None)


def say(browser: Client, url: str, **fields: object) -> str:
    """Post a form; return the messages on the page that follows."""
    page = browser.post(url, fields, follow=True)
    return " ".join(str(message) for message in page.context["messages"])


def test_folders_are_created_renamed_and_moved(browser: Client, root: Folder, uploader: Uploader) -> None:
    said = [say(browser, f"/folders/{root.pk}/", title=title) for title in ("one", "two", "one", " ")]
    exists = "“one” already exists in “My documents”. Choose another name."
    assert said == ["Created “one”.", "Created “two”.", exists, "Enter a name."]
    one, two = Folder.objects.get(title="one"), Folder.objects.get(title="two")
    uploader.send(uploader.create(1, name="deep.txt", RelativePath="one/deeper"), b"x")
    assert say(browser, f"/folders/{one.pk}/change", title="first") == "Renamed “one” to “first”."
    assert say(browser, f"/folders/{one.pk}/change", parent=two.pk) == "Moved “first” to “two”."
    one.refresh_from_db()
    assert (one.title, one.path) == ("first", [root.pk, two.pk, one.pk])
    deeper = Folder.objects.get(title="deeper")
    assert deeper.path == [root.pk, two.pk, one.pk, deeper.pk]
    assert "Choose another folder" in say(browser, f"/folders/{two.pk}/change", parent=deeper.pk)
    two.refresh_from_db()
    assert two.parent == root
    assert browser.post(f"/folders/{root.pk}/change", {"delete": "1"}).status_code == 404


def test_file_is_renamed_and_its_version_restored(browser: Client, uploader: Uploader) -> None:
    upload(uploader, b"old")
    file = upload(uploader, b"newer")
    url = f"/files/{file.pk}/"
    assert "Previous versions" in browser.get(url).content.decode()
    assert b"".join(browser.get(f"{url}versions/1")) == b"old"
    assert say(browser, url, restore="1") == "Restored version 1."
    file.refresh_from_db()
    assert (file.version, file.size) == (3, 3)
    assert b"".join(browser.get(file.get_absolute_url())) == b"old"
    assert PreviousVersion.objects.get().version == 2
    assert browser.post(url, {"restore": "1"}).status_code == 404
    assert say(browser, url, title="b.txt") == "Renamed “a.txt” to “b.txt”."


@pytest.mark.parametrize(("page", "leads_to"), [("/trash/", "/trash/"), ("//elsewhere.example/", None), ("", None)])
def test_change_returns_to_its_page(browser: Client, uploader: Uploader, page: str, leads_to: str | None) -> None:
    url = f"/files/{upload(uploader, b'x').pk}/"
    assert browser.post(url, {"title": "b.txt", "next": page})["Location"] == (leads_to or url)


def test_deleted_file_is_restored_from_trash(browser: Client, uploader: Uploader, root: Folder) -> None:
    upload(uploader, b"old")
    file = upload(uploader, b"newer")
    assert say(browser, f"/files/{file.pk}/", delete="1") == "Moved “a.txt” to the trash."
    assert "a.txt" not in browser.get(root.get_absolute_url()).content.decode()
    assert browser.get(file.get_absolute_url()).status_code == 404
    assert browser.get(f"/files/{file.pk}/")["Location"] == "/trash/"
    assert "a.txt" in browser.get("/trash/").content.decode()
    upload(uploader, b"another")
    assert say(browser, "/trash/", file=file.pk) == "Restored “a (1).txt” to “My documents”."
    assert say(browser, "/trash/", file=file.pk) == ""
    assert b"".join(browser.get(file.get_absolute_url())) == b"newer"
    assert b"".join(browser.get(f"/files/{file.pk}/versions/1")) == b"old"


def test_deleted_folder_is_restored_with_content(browser: Client, uploader: Uploader, root: Folder) -> None:
    for name in ("early.txt", "late.txt"):
        uploader.send(uploader.create(1, name=name, RelativePath="top/below"), b"x")
    early, late = File.objects.order_by("title")
    top, below = Folder.objects.get(title="top"), Folder.objects.get(title="below")
    say(browser, f"/files/{early.pk}/", delete="1")
    assert "the 1 file in it" in browser.get(root.get_absolute_url()).content.decode()
    assert say(browser, f"/folders/{top.pk}/change", delete="1") == "Moved “top” with 1 file to the trash."
    assert browser.get(below.get_absolute_url())["Location"] == "/trash/"
    assert browser.get(late.get_absolute_url()).status_code == 404
    assert [item.title for item in browser.get("/trash/").context["items"]] == ["top", "early.txt"]
    assert say(browser, "/trash/", file=early.pk) == "Restored “early.txt” to “My documents”."
    assert say(browser, "/trash/", folder=top.pk) == "Restored “top” to “My documents”."
    assert browser.get(late.get_absolute_url()).status_code == 200
    assert set(File.objects.values_list("folder", "trashed")) == {(root.pk, None), (below.pk, None)}


@pytest.mark.parametrize("days", [None, 29, 31])
def test_emptied_trash_deletes_stored_objects(
    browser: Client, uploader: Uploader, file_store: Store, django_capture_on_commit_callbacks: Any, days: int | None
) -> None:
    uploader.send(uploader.create(1, name="kept.txt"), b"x")
    for content in (b"old", b"newer"):
        uploader.send(uploader.create(len(content), name="a.txt", RelativePath="top/below"), content)
    say(browser, f"/folders/{Folder.objects.get(title='top').pk}/change", delete="1")
    objects = [str(model.objects.get(version=n).content) for model, n in ((PreviousVersion, 1), (File, 2))]
    with django_capture_on_commit_callbacks(execute=True):
        if days is None:
            assert say(browser, "/trash/", empty="1") == "Emptied the trash: deleted 1 file."
        else:
            past = timezone.now() - timedelta(days=days)
            for model in (File, Folder):
                model.objects.filter(trashed__isnull=False).update(trashed=past)
            tidy.empty_old_trash()
    kept = days == 29
    assert [bool(file_store.stat(name)) for name in objects] == [kept, kept]
    assert Folder.objects.filter(title__in=("top", "below")).count() == 2 * kept
    assert file_store.stat(str(File.objects.get(title="kept.txt").content))


def test_foreign_files_and_folders_cannot_be_changed(browser: Client, other_user: User, uploader: Uploader) -> None:
    file = upload(uploader, b"mine")
    browser.force_login(other_user)
    for url in (f"/files/{file.pk}/", f"/folders/{file.folder_id}/", f"/folders/{file.folder_id}/change"):
        assert browser.post(url, {"title": "x", "delete": "1"}).status_code == 404
    File.objects.update(trashed=timezone.now())
    browser.post("/trash/", {"file": file.pk, "empty": "1"})
    assert File.objects.filter(trashed__isnull=False, title="a.txt").exists()


def test_only_safe_images_are_shown(browser: Client, uploader: Uploader) -> None:
    assert "<img" in browser.get(f"/files/{upload(uploader, b'x', 'a.png').pk}/").content.decode()
    assert "<img" not in browser.get(f"/files/{upload(uploader, b'x', 'a.svg').pk}/").content.decode()


def test_unknown_page_answers_404(browser: Client) -> None:
    page = browser.get("/nowhere")
    assert (page.status_code, "Not found" in page.content.decode()) == (404, True)


def test_downloads_redirect_to_the_store(
    client: Client, user: User, root: Folder, uploader: Uploader, s3_store: Store, settings: Any
) -> None:
    """Redirect to an uncached link valid for one minute; the portal itself answers HEAD."""
    settings.PRESIGNED_DOWNLOADS = True
    file = upload(uploader, b"0123456789", "a page.html")
    client.force_login(user)
    answer = client.get(file.get_absolute_url())
    assert (answer.status_code, answer["Cache-Control"]) == (302, "no-store")
    got = requests.get(answer["Location"], headers={"Range": "bytes=2-4"}, timeout=10)
    assert (got.status_code, got.content) == (206, b"234")
    assert got.headers["Content-Disposition"].startswith("attachment")
    assert client.head(file.get_absolute_url()).status_code == 200
    assert requests.get(answer["Location"].replace("Expires=60", "Expires=61"), timeout=10).status_code == 403
