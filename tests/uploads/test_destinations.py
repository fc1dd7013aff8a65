"""Destinations that need no code, and several at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.files.storage import Storage
from django.db.models import Manager, QuerySet
from rest_framework.test import APIClient

from portal.models import File, Folder
from tests.helpers import Uploader, chunk_of
from uploads._internal import sessions
from uploads._internal.checks import check_settings
from uploads._internal.sessions import FileRequest
from uploads._internal.stores import get_store
from uploads._internal.stores.base import Store
from uploads.destinations import ModelDestination, PlainDestination, get_destination
from uploads.models import State, UploadSession

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_chunks", "file_store")]


class Files(ModelDestination):
    """The portal's files, as an embedder would describe them."""

    model = "portal.File"
    folder_field = "folder"
    size_field = "size"
    content_type_field = "content_type"

    def fill(self, file: Any, session: UploadSession) -> None:
        file.crc32 = session.crc32 or 0


@pytest.fixture
def use(uploads_settings: Callable[..., None]) -> Callable[..., None]:
    def use(name: str = "Files", **options: Any) -> None:
        backend = f"tests.uploads.test_destinations.{name}"
        uploads_settings(DESTINATION="", DESTINATIONS={"default": {"BACKEND": backend, "OPTIONS": options}})

    return use


def content_of(file: Any) -> bytes:
    with file.content.open() as content:
        return bytes(content.read())


def upload(uploader: Uploader, data: bytes, **fields: Any) -> Any:
    answer = uploader.send(uploader.create(len(data), **fields), data)
    assert answer.status_code == 201, answer.content
    return answer.json()["data"]


def test_a_model_gets_the_file(use: Callable[..., None], uploader: Uploader, root: Folder) -> None:
    use()
    answer = upload(uploader, b"abcd", name="größe.txt")
    file = File.objects.get()
    assert (file.pk, file.title, file.size, file.content_type) == (answer["id"], "größe.txt", 4, "text/plain")
    assert (file.folder, content_of(file)) == (root, b"abcd")
    assert answer["file"]["viewUrl"].endswith(f"/files/{file.pk}/download")
    assert [message.id for message in check_settings()] == []


@pytest.mark.parametrize(
    ("same_title", "titles"),
    [("free", ["a (1).txt", "a.txt"]), ("replace", ["a.txt"])],
)
def test_what_becomes_of_the_same_title(
    use: Callable[..., None], uploader: Uploader, same_title: str, titles: list[str]
) -> None:
    use(same_title=same_title)
    upload(uploader, b"old", name="a.txt")
    upload(uploader, b"newer", name="a.txt")
    assert sorted(File.objects.values_list("title", flat=True)) == titles
    assert b"newer" in [content_of(file) for file in File.objects.all()]


def test_the_object_of_what_is_replaced_goes_with_the_commit(
    use: Callable[..., None], uploader: Uploader, django_capture_on_commit_callbacks: Any
) -> None:
    use(same_title="replace")
    upload(uploader, b"old", name="a.txt")
    first = File.objects.get().content
    with django_capture_on_commit_callbacks(execute=True):
        upload(uploader, b"newer", name="a.txt")
    assert not first.storage.exists(str(first.name))


def test_only_the_folders_of_the_user(use: Callable[..., None], api: APIClient, other_user: User) -> None:
    use()
    theirs = Folder.objects.create(owner=other_user, title="theirs")
    for folder in (theirs.pk, 0, "nothing", "@my"):
        answer = api.post(f"/api/2.0/files/{folder}/upload/create_session", {"FileName": "a", "FileSize": 1})
        assert answer.status_code == 404
    assert not UploadSession.objects.exists()


class Chosen(Files):
    def uploadable(self, user: Any) -> Any:
        return Folder.objects.filter(title="shared")


def test_a_portal_may_choose_by_another_rule(use: Callable[..., None], api: APIClient, other_user: User) -> None:
    use("Chosen")
    shared = Folder.objects.create(owner=other_user, title="shared")
    upload(Uploader(api, shared.pk), b"abc")
    assert File.objects.get().folder == shared


class Ruled(Files):
    """A model's own rule, which needs no bytes."""

    def fill(self, file: Any, session: UploadSession) -> None:
        super().fill(file, session)

        def refuse() -> None:
            if file.size > 3:
                raise ValidationError({"size": "too much"})

        file.clean = refuse


def test_the_rules_of_the_model_hold_before_bytes_come(
    use: Callable[..., None], uploader: Uploader, root: Folder
) -> None:
    use("Ruled")
    answer = uploader.api.post(uploader.url, {"FileName": "a", "FileSize": 4}, format="json")
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "not_accepted")
    assert "too much" in answer.json()["message"]
    upload(uploader, b"abc")


class LooksAtItsFile(Files):
    """As models do: at the file's name, and at its bytes, which are not there before they come."""

    def fill(self, file: Any, session: UploadSession) -> None:
        super().fill(file, session)

        def clean() -> None:
            if not file.content or file.content.name.endswith(".exe"):
                raise ValidationError({"content": "no such file"})
            if file.content.size > 3:
                raise ValidationError({"size": "too much"})

        file.clean = clean


def test_a_rule_that_looks_at_the_file_is_asked_when_it_is_there(
    use: Callable[..., None], uploader: Uploader, root: Folder
) -> None:
    use("LooksAtItsFile")
    assert uploader.api.post(uploader.url, {"FileName": "a.exe", "FileSize": 1}, format="json").status_code == 403
    upload(uploader, b"abc")
    answer = uploader.send(uploader.create(4), b"abcd")
    assert (answer.status_code, "too much" in answer.content.decode()) == (409, True)
    assert File.objects.count() == 1


def test_what_lies_in_the_bin_is_not_replaced(
    use: Callable[..., None], uploader: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(same_title="replace")
    upload(uploader, b"old", name="a.txt")
    hidden = File.objects.get()

    class Visible(Manager[File]):
        def get_queryset(self) -> QuerySet[File]:
            return super().get_queryset().exclude(pk=hidden.pk)

    visible = Visible()
    visible.model = File
    monkeypatch.setattr(File._meta, "default_manager", visible)
    upload(uploader, b"newer", name="a.txt")
    assert sorted(map(content_of, File._base_manager.all())) == [b"newer", b"old"]


def test_a_name_that_does_not_fit_is_refused_before_bytes_come(
    use: Callable[..., None], uploader: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    use()
    field = File._meta.get_field("content")
    monkeypatch.setattr(field, "upload_to", lambda _file, name: f"{'deep/' * 10}{name}")
    monkeypatch.setattr(field, "max_length", 100)
    answer = uploader.api.post(uploader.url, {"FileName": "a.txt", "FileSize": 1}, format="json")
    assert (answer.status_code, "characters" in answer.json()["message"]) == (403, True)


class Unfilled(ModelDestination):
    model = "portal.File"
    folder_field = "folder"


def test_fields_that_nothing_fills_are_named(use: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    use("Unfilled")
    said = " ".join(message.msg for message in check_settings())
    for field in ("content_type", "size", "crc32"):
        assert f"nothing fills portal.File.{field}" in said
    use("Unfilled", size_field="size", content_type_field="content_type")
    assert [message.msg.count("nothing fills") for message in check_settings()] == [1]


class ForeignStorage(Storage):
    """One that nobody can write to in parts."""


class AtFiles(Files):
    """Its files go to another storage than the default."""

    storages = ("files",)


class ToAReplica:
    def db_for_read(self, model: Any, **_: Any) -> str:
        return "replica"

    def db_for_write(self, model: Any, **_: Any) -> str:
        return "default"


def test_the_store_that_a_destination_uses_is_looked_at(use: Callable[..., None], settings: Any) -> None:
    path = f"{__name__}.ForeignStorage"
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": path}, "files": settings.STORAGES["default"]}
    use("AtFiles")
    assert [message.id for message in check_settings()] == []
    use("Files")
    assert [message.id for message in check_settings()] == ["uploads.E023"]


def test_reads_that_decide_are_the_writers(use: Callable[..., None], settings: Any, user: User) -> None:
    use(same_title="replace")
    settings.DATABASE_ROUTERS = [f"{__name__}.ToAReplica"]
    destination: Any = get_destination()
    assert {destination._seen.db, destination._all.db, destination.uploadable(user).db} == {"default"}


def test_the_content_of_a_file_is_replaced(use: Callable[..., None], uploader: Uploader, other_user: User) -> None:
    use()
    first = upload(uploader, b"old", name="a.txt")
    edit = f"/api/2.0/files/file/{first['id']}/edit_session?fileSize=5"
    second = uploader.send(uploader.api.post(edit).json()["data"], b"newer").json()["data"]
    assert (second["id"], content_of(File.objects.get())) == (first["id"], b"newer")
    uploader.api.force_authenticate(other_user)
    assert uploader.api.post(edit).status_code == 404


def test_names_are_long_and_still_fit(use: Callable[..., None], uploader: Uploader) -> None:
    use()
    answer = upload(uploader, b"abc", name=f"{'x' * 300}.txt")
    name = str(File.objects.get().content.name)
    assert len(name) <= 255
    assert name.endswith(".txt")
    assert answer["title"].endswith(".txt")


def test_the_audit_knows_the_names(use: Callable[..., None], uploader: Uploader) -> None:
    use()
    upload(uploader, b"abc")
    name = str(File.objects.get().content.name)
    assert get_destination().in_use([name, "other"]) == {name}


def test_a_plain_destination_keeps_the_object(uploads_settings: Callable[..., None], uploader: Uploader) -> None:
    uploads_settings(DESTINATION="uploads.destinations.PlainDestination")
    answer = upload(uploader, b"abc", name="a.txt")
    session = UploadSession.objects.get()
    assert answer["id"] == session.object_name
    assert b"".join(get_store("default").read(session.object_name)) == b"abc"
    assert [message.id for message in check_settings()] == []


def test_several_destinations(
    uploads_settings: Callable[..., None], user: User, root: Folder, file_store: Store
) -> None:
    uploads_settings(DESTINATIONS={"plain": "uploads.destinations.PlainDestination"})
    files = [FileRequest(name="a.txt", size=3, destination=alias) for alias in ("default", "plain")]
    opened = [sessions.create(user, str(root.pk), file) for file in files]
    done = [sessions.receive(session, chunk_of(b"abc")) for session in opened]
    assert [session.state for session in done] == [State.COMPLETED] * 2
    assert [session.destination for session in UploadSession.objects.order_by("destination")] == ["default", "plain"]
    assert File.objects.count() == 1
    assert b"".join(get_store("default").read(done[1].object_name)) == b"abc"
    assert isinstance(get_destination("plain"), PlainDestination)


def test_an_alias_comes_from_the_url(uploads_settings: Callable[..., None], settings: Any, api: APIClient) -> None:
    uploads_settings(DESTINATIONS={"plain": "uploads.destinations.PlainDestination"})
    settings.ROOT_URLCONF = "tests.uploads.urls_of_aliases"
    headers: dict[str, Any] = {"HTTP_TUS_RESUMABLE": "1.0.0", "HTTP_UPLOAD_LENGTH": "0"}
    assert api.post("/plain/", **headers).status_code == 201
    assert UploadSession.objects.get().destination == "plain"
    assert api.post("/unknown/", **headers).status_code == 404


class Curious(PlainDestination):
    seen: list[Any] = []

    def accept(self, user: Any, session: UploadSession) -> None:
        self.seen.append((self.request and self.request.META.get("HTTP_X_TENANT"), dict(session.metadata)))


def test_a_destination_sees_the_request_and_what_the_client_said(
    use: Callable[..., None], api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("Curious")
    monkeypatch.setattr(Curious, "seen", [])
    headers: dict[str, Any] = {"HTTP_TUS_RESUMABLE": "1.0.0", "HTTP_UPLOAD_LENGTH": "0", "HTTP_X_TENANT": "acme"}
    api.post("/tus/", HTTP_UPLOAD_METADATA="note amE=", **headers)
    assert Curious.seen == [("acme", {"note": "ja"})] * 2
    assert get_destination().request is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "portal.Nothing"}, "Nothing"),
        ({"model": ""}, "names no model"),
        ({"size_field": "length"}, "length"),
        ({"permission": "allowed_for"}, "has no manager with a method allowed_for"),
        ({"same_title": "maybe"}, "same_title is 'maybe'"),
        ({"colour": "red"}, "has no option colour"),
    ],
    ids=str,
)
def test_options_that_are_not_right_are_named(use: Callable[..., None], options: dict[str, Any], said: str) -> None:
    use(**options)
    (message,) = check_settings()
    assert (message.id, said in str(message.msg)) == ("uploads.E041", True), message.msg


def test_no_destination_at_all(uploads_settings: Callable[..., None]) -> None:
    uploads_settings(DESTINATION="")
    assert [message.id for message in check_settings()] == ["uploads.E002"]
