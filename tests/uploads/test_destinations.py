"""Test configurable destinations, and several destinations at once."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.files.storage import Storage
from django.db import connection, models
from django.db.models import Manager, QuerySet
from django.test.utils import isolate_apps
from PIL import Image
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
    """Destination for the portal's files, as an embedding project would write it."""

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


def test_model_row_describes_the_file(use: Callable[..., None], uploader: Uploader, root: Folder) -> None:
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
def test_same_title_is_renamed_or_replaced(
    use: Callable[..., None], uploader: Uploader, same_title: str, titles: list[str]
) -> None:
    use(same_title=same_title)
    upload(uploader, b"old", name="a.txt")
    upload(uploader, b"newer", name="a.txt")
    assert sorted(File.objects.values_list("title", flat=True)) == titles
    assert b"newer" in [content_of(file) for file in File.objects.all()]


def test_replaced_object_is_deleted_on_commit(
    use: Callable[..., None], uploader: Uploader, django_capture_on_commit_callbacks: Any
) -> None:
    use(same_title="replace")
    upload(uploader, b"old", name="a.txt")
    first = File.objects.get().content
    with django_capture_on_commit_callbacks(execute=True):
        upload(uploader, b"newer", name="a.txt")
    assert not first.storage.exists(str(first.name))


def test_only_own_folders_are_uploadable(use: Callable[..., None], api: APIClient, other_user: User) -> None:
    use()
    theirs = Folder.objects.create(owner=other_user, title="theirs")
    for folder in (theirs.pk, 0, "nothing", "@my"):
        answer = api.post(f"/api/2.0/files/{folder}/upload/create_session", {"FileName": "a", "FileSize": 1})
        assert answer.status_code == 404
    assert not UploadSession.objects.exists()


class Chosen(Files):
    def uploadable(self, user: Any) -> Any:
        return Folder.objects.filter(title="shared")


def test_uploadable_hook_can_allow_shared_folders(use: Callable[..., None], api: APIClient, other_user: User) -> None:
    use("Chosen")
    shared = Folder.objects.create(owner=other_user, title="shared")
    upload(Uploader(api, shared.pk), b"abc")
    assert File.objects.get().folder == shared


class Ruled(Files):
    """Add a model validation that needs no file content."""

    def fill(self, file: Any, session: UploadSession) -> None:
        super().fill(file, session)

        def refuse() -> None:
            if file.size > 3:
                raise ValidationError({"size": "too much"})

        file.clean = refuse


def test_model_validation_precedes_the_upload(use: Callable[..., None], uploader: Uploader, root: Folder) -> None:
    use("Ruled")
    answer = uploader.api.post(uploader.url, {"FileName": "a", "FileSize": 4}, format="json")
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "not_accepted")
    assert "too much" in answer.json()["message"]
    upload(uploader, b"abc")


class LooksAtItsFile(Files):
    """Add a model validation of the file's name and size.

    The size is available only after the upload.
    """

    def fill(self, file: Any, session: UploadSession) -> None:
        super().fill(file, session)

        def clean() -> None:
            if not file.content or file.content.name.endswith(".exe"):
                raise ValidationError({"content": "no such file"})
            if file.content.size > 3:
                raise ValidationError({"size": "too much"})

        file.clean = clean


def test_content_validation_follows_the_upload(use: Callable[..., None], uploader: Uploader, root: Folder) -> None:
    use("LooksAtItsFile")
    assert uploader.api.post(uploader.url, {"FileName": "a.exe", "FileSize": 1}, format="json").status_code == 403
    upload(uploader, b"abc")
    answer = uploader.send(uploader.create(4), b"abcd")
    assert (answer.status_code, "too much" in answer.content.decode()) == (409, True)
    assert File.objects.count() == 1


def test_hidden_rows_are_not_replaced(
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


def test_overlong_name_is_refused_before_upload(
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


def test_required_fields_without_value_are_reported(use: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    use("Unfilled")
    messages = check_settings()
    assert {message.id for message in messages} == {"uploads.W017"}
    payload = " ".join(message.msg for message in messages)
    for field in ("content_type", "size", "crc32"):
        assert f"portal.File.{field} gets no value" in payload
    use("Unfilled", size_field="size", content_type_field="content_type")
    assert [message.msg.count("gets no value") for message in check_settings()] == [1]


@pytest.mark.parametrize("change", [{"editable": False}, {"null": True}], ids=str)
def test_fields_that_need_no_value_are_accepted(
    use: Callable[..., None], monkeypatch: pytest.MonkeyPatch, change: dict[str, bool]
) -> None:
    """Many models fill such fields themselves."""
    for name, value in change.items():
        monkeypatch.setattr(File._meta.get_field("crc32"), name, value)
    use("Unfilled", size_field="size", content_type_field="content_type")
    assert check_settings() == []


@isolate_apps("portal")
def test_dimensions_of_an_image_need_no_value() -> None:
    class Photo(models.Model):
        image = models.ImageField(width_field="width", height_field="height", max_length=255)
        width = models.PositiveIntegerField()
        height = models.PositiveIntegerField()

        class Meta:
            app_label = "portal"

    destination = ModelDestination(model=Photo)
    assert [*destination.problems(), *destination.warnings()] == []


@pytest.fixture
def table(uploads_settings: Callable[..., None]) -> Iterator[Callable[..., None]]:
    """Create the tables of models of the test, and store files in the first, with the options."""
    made: list[Any] = []

    def create(model: Any, **options: Any) -> None:
        with connection.schema_editor() as editor:
            editor.create_model(model)
        made.append(model)
        backend = {"BACKEND": "uploads.destinations.ModelDestination", "OPTIONS": {"model": model} | options}
        uploads_settings(DESTINATION="", DESTINATIONS={"default": backend})

    with isolate_apps("portal"):
        yield create
        for model in made:
            with connection.schema_editor() as editor:
                editor.delete_model(model)


@pytest.fixture
def portraits(table: Callable[..., None]) -> Any:
    """A model with one image per user."""

    class Portrait(models.Model):
        person = models.OneToOneField(User, models.CASCADE)
        title = models.CharField(max_length=100)
        image = models.ImageField(upload_to="portraits", max_length=255, width_field="width")
        width = models.IntegerField()

        class Meta:
            app_label = "portal"

    table(Portrait)
    return Portrait


@pytest.mark.django_db(transaction=True)
def test_replacing_ignores_files_in_the_bin(table: Callable[..., None], api: APIClient) -> None:
    class Kept(Manager[Any]):
        def get_queryset(self) -> QuerySet[Any]:
            return super().get_queryset().exclude(deleted=True)

    class Note(models.Model):
        title = models.CharField(max_length=100)
        content = models.FileField(max_length=255)
        deleted = models.BooleanField(default=False)
        objects = Kept()

        class Meta:
            app_label = "portal"

    table(Note, same_title="replace")
    for data in (b"old", b"older"):
        api.generic("PUT", "/tus/a.txt", data)
        Note._base_manager.update(deleted=True)
    assert {(note.title, content_of(note)) for note in Note._base_manager.all()} == {
        ("a.txt", b"old"),
        ("a.txt", b"older"),
    }


def drawn(width: int) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (width, 20)).save(written, "PNG")
    return written.getvalue()


@pytest.mark.django_db(transaction=True)
def test_user_has_one_file_in_a_one_to_one_model(portraits: Any, api: APIClient) -> None:
    for width in (30, 40):
        answer = api.generic("PUT", f"/tus/{width}.png", drawn(width))
        assert answer.status_code == 201, answer.content
    portrait = portraits.objects.get()
    assert (portrait.title, portrait.width) == ("40.png", 40)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("name", "data", "why"),
    [("a.png", b"no image", "it is not a valid image"), ("a.txt", drawn(1), "File extension “txt” is not allowed")],
    ids=["damaged", "other"],
)
def test_image_field_takes_images_only(portraits: Any, api: APIClient, name: str, data: bytes, why: str) -> None:
    answer = api.generic("PUT", f"/tus/{name}", data)
    assert (answer.status_code in (403, 422), why in answer.json()["title"]) == (True, True), answer.content
    assert portraits.objects.count() == 0


class ForeignStorage(Storage):
    """Storage that cannot be written in parts."""


class AtFiles(Files):
    """Destination whose files go to a storage other than the default."""

    storages = ("files",)


class ToAReplica:
    def db_for_read(self, model: Any, **_: Any) -> str:
        return "replica"

    def db_for_write(self, model: Any, **_: Any) -> str:
        return "default"


def test_storage_of_the_destination_is_validated(use: Callable[..., None], settings: Any) -> None:
    path = f"{__name__}.ForeignStorage"
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": path}, "files": settings.STORAGES["default"]}
    use("AtFiles")
    assert [message.id for message in check_settings()] == []
    use("Files")
    assert [message.id for message in check_settings()] == ["uploads.E023"]


def test_decisive_reads_use_the_primary_database(use: Callable[..., None], settings: Any, user: User) -> None:
    use(same_title="replace")
    settings.DATABASE_ROUTERS = [f"{__name__}.ToAReplica"]
    destination: Any = get_destination()
    assert {destination._seen.db, destination._all.db, destination.uploadable(user).db} == {"default"}


def test_edit_session_replaces_file_content(use: Callable[..., None], uploader: Uploader, other_user: User) -> None:
    use()
    first = upload(uploader, b"old", name="a.txt")
    edit = f"/api/2.0/files/file/{first['id']}/edit_session?fileSize=5"
    second = uploader.send(uploader.api.post(edit).json()["data"], b"newer").json()["data"]
    assert (second["id"], content_of(File.objects.get())) == (first["id"], b"newer")
    uploader.api.force_authenticate(other_user)
    assert uploader.api.post(edit).status_code == 404


def test_long_names_are_shortened_to_fit(use: Callable[..., None], uploader: Uploader) -> None:
    use()
    answer = upload(uploader, b"abc", name=f"{'x' * 300}.txt")
    name = str(File.objects.get().content.name)
    assert len(name) <= 255
    assert name.endswith(".txt")
    assert answer["title"].endswith(".txt")


def test_in_use_returns_stored_names(use: Callable[..., None], uploader: Uploader) -> None:
    use()
    upload(uploader, b"abc")
    name = str(File.objects.get().content.name)
    assert get_destination().in_use([name, "other"]) == {name}


def test_plain_destination_keeps_the_object(uploads_settings: Callable[..., None], uploader: Uploader) -> None:
    uploads_settings(DESTINATION="uploads.destinations.PlainDestination")
    answer = upload(uploader, b"abc", name="a.txt")
    session = UploadSession.objects.get()
    assert answer["id"] == session.object_name
    assert b"".join(get_store("default").read(session.object_name)) == b"abc"
    assert [message.id for message in check_settings()] == []


def test_sessions_use_several_destinations(
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


def test_url_selects_the_destination_alias(
    uploads_settings: Callable[..., None], settings: Any, api: APIClient
) -> None:
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


def test_destination_sees_request_and_metadata(
    use: Callable[..., None], api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("Curious")
    monkeypatch.setattr(Curious, "seen", [])
    headers: dict[str, Any] = {"HTTP_TUS_RESUMABLE": "1.0.0", "HTTP_UPLOAD_LENGTH": "0", "HTTP_X_TENANT": "acme"}
    api.post("/tus/", HTTP_UPLOAD_METADATA="note amE=", **headers)
    assert Curious.seen == [("acme", {"note": "ja"})] * 2
    assert get_destination().request is None


@pytest.mark.parametrize(
    ("options", "payload"),
    [
        ({"model": "portal.Nothing"}, "Nothing"),
        ({"model": ""}, "the option model is missing"),
        ({"size_field": "length"}, "length"),
        ({"permission": "allowed_for"}, "has no method allowed_for"),
        ({"same_title": "maybe"}, "same_title is 'maybe'"),
        ({"colour": "red"}, "has no option colour"),
    ],
    ids=str,
)
def test_invalid_options_are_reported(use: Callable[..., None], options: dict[str, Any], payload: str) -> None:
    use(**options)
    (message,) = check_settings()
    assert (message.id, payload in str(message.msg)) == ("uploads.E041", True), message.msg


def test_missing_destination_is_an_error(uploads_settings: Callable[..., None]) -> None:
    uploads_settings(DESTINATION="")
    assert [message.id for message in check_settings()] == ["uploads.E002"]
