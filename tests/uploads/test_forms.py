"""Test form fields whose files arrive through upload sessions."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django import forms
from django.contrib.auth.models import User
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import models, transaction
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import isolate_apps
from django.urls import include, path
from django.utils import timezone
from PIL import Image
from rest_framework import serializers
from rest_framework.test import APIClient

from portal.forms import DocumentForm
from portal.models import Attachment, Document
from tests.uploads.test_tus import BYTES, TUS, meta
from uploads._internal import sessions
from uploads._internal.stores.base import Store
from uploads.forms import ImageUploadField, MultipleUploadField, StoredFile, UploadField
from uploads.forms.checks import check_forms
from uploads.forms.middleware import UploadFormMiddleware
from uploads.forms.rest_framework import UploadTokenField
from uploads.forms.tokens import Limits
from uploads.forms.widgets import UploadWidget
from uploads.models import PendingFile, UploadSession

PAGE = "/documents/"
pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.fixture
def browser(client: Client, user: User, store: Store) -> Client:
    client.force_login(user)
    return client


def ticket_on(page: str, field: str) -> str:
    """Return the ticket of a field from the page's markup."""
    element = re.search(rf'<upload-drop name="{field}"[^>]*metadata="([^"]*)"', page)
    assert element, page
    payload: dict[str, str] = json.loads(element[1].replace("&quot;", '"'))
    return payload["field"]


def send(client: Any, ticket: str, content: bytes, name: str = "report.pdf") -> Any:
    """Upload like the script; return the finished upload's data or the error response."""
    payload = {"HTTP_UPLOAD_LENGTH": str(len(content)), "HTTP_UPLOAD_METADATA": meta(filename=name, field=ticket)}
    answer = client.generic("POST", "/uploads/", content, content_type=BYTES, **TUS | payload)
    if answer.status_code != 201:
        return answer
    return client.get(answer["Location"]).json()


def uploaded(browser: Client, content: bytes = b"content", field: str = "file", name: str = "report.pdf") -> str:
    page = browser.get(PAGE).content.decode()
    token: str = send(browser, ticket_on(page, field), content, name)["file"]["details"]["token"]
    return token


def post(browser: Client, **payload: Any) -> Any:
    return browser.post(PAGE, {"title": "Report", **payload})


def content(file: Any) -> bytes:
    with file.open() as opened:
        found: bytes = opened.read()
    return found


def names_in(store: Store) -> set[str]:
    """Return the object names of sessions that exist in the store."""
    names = UploadSession.objects.values_list("object_name", flat=True)
    return {name for name in names if store.stat(name)}


def test_form_takes_the_uploaded_file(browser: Client, store: Store) -> None:
    token = uploaded(browser)
    answer = post(browser, **{"file-token": token})
    assert answer.status_code == 302, answer.content.decode()
    document = Document.objects.get()
    assert re.fullmatch(r"documents/\d{4}/\d\d/[\w-]+/report\.pdf", str(document.file.name))
    assert content(document.file) == b"content"
    assert UploadSession.objects.get().object_name == document.file.name, "it was copied"
    assert not PendingFile.objects.exists()


def test_token_is_valid_once(browser: Client) -> None:
    token = uploaded(browser)
    assert post(browser, **{"file-token": token}).status_code == 302
    answer = post(browser, **{"file-token": token})
    assert "has already been used" in answer.content.decode()
    assert Document.objects.count() == 1


def test_invalid_form_keeps_the_upload(browser: Client) -> None:
    token = uploaded(browser)
    page = post(browser, title="", **{"file-token": token}).content.decode()
    assert f'value="{token}" data-title="report.pdf" data-size="7"' in page
    assert post(browser, **{"file-token": token}).status_code == 302


def test_rollback_keeps_the_upload(browser: Client, user: User) -> None:
    token = uploaded(browser)
    document = Document(owner=user, title="x")

    class Undone(Exception):
        pass

    def save(request: Any) -> Any:
        form = DocumentForm({"title": "x", "file-token": token}, instance=document)
        assert form.is_valid(), form.errors
        form.save()
        raise Undone

    with pytest.raises(Undone), transaction.atomic():
        as_user(user, save)
    assert PendingFile.objects.count() == 1
    assert post(browser, **{"file-token": token}).status_code == 302


def as_user(user: User, view: Callable[[Any], Any]) -> Any:
    request = RequestFactory().get("/")
    request.user = user
    return UploadFormMiddleware(view)(request)


@pytest.mark.parametrize("token", ["", "nonsense", "{foreign}", "{other_field}"])
def test_token_is_bound_to_field_and_user(browser: Client, other_user: User, token: str) -> None:
    others = Client()
    others.force_login(other_user)
    tokens = {"foreign": uploaded(others), "other_field": uploaded(browser, field="attachments")}
    answer = post(browser, **{"file-token": token.format_map(tokens)})
    assert answer.status_code == 200
    assert not Document.objects.exists()
    assert PendingFile.objects.count() == 2


def test_limits_are_enforced_before_the_upload(browser: Client) -> None:
    ticket = ticket_on(browser.get(PAGE).content.decode(), "file")
    answer = send(browser, ticket, b"MZ", name="virus.exe")
    assert (answer.status_code, answer.json()["code"]) == (403, "extension_not_allowed")
    for bad in ("", ticket[:-2] + "xx"):
        answer = send(browser, bad, b"x")
        assert (answer.status_code, answer.json()["code"]) == (403, "not_accepted")
    assert not UploadSession.objects.exists()


def test_ticket_is_bound_to_its_user(browser: Client, other_user: User) -> None:
    ticket = ticket_on(browser.get(PAGE).content.decode(), "file")
    others = Client()
    others.force_login(other_user)
    assert send(others, ticket, b"x").status_code == 403


def test_repeated_token_attaches_one_file(browser: Client) -> None:
    token = uploaded(browser, b"a", "attachments")
    payload = {"file-token": uploaded(browser), "attachments-token": [token, token]}
    assert post(browser, **payload).status_code == 302
    assert Attachment.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_taking_a_file_requires_a_transaction(browser: Client, user: User) -> None:
    """If a save failed outside a transaction, the file would be lost."""
    token = uploaded(browser)

    def save(_request: Any) -> None:
        form = DocumentForm({"title": "x", "file-token": token}, instance=Document(owner=user))
        assert form.is_valid()
        form.save()

    with pytest.raises(transaction.TransactionManagementError, match="atomic"):
        as_user(user, save)
    assert PendingFile.objects.count() == 1


def test_reloaded_page_has_the_same_ticket(browser: Client) -> None:
    """The page uses the ticket to find unfinished uploads of the field."""
    tickets = {ticket_on(browser.get(PAGE).content.decode(), field) for field in ("file", "attachments") for _ in "12"}
    assert len(tickets) == 2


def test_purge_keeps_sessions_of_form_files(
    browser: Client, uploads_settings: Callable[..., None], store: Store
) -> None:
    uploads_settings(RETENTION=timedelta(microseconds=1), FORM_LIFETIME=timedelta(days=60))
    token = uploaded(browser)
    sessions.purge(limit=10)
    assert post(browser, **{"file-token": token}).status_code == 302


def test_form_destination_without_checker_is_reported(uploads_settings: Callable[..., None]) -> None:
    checker = {"checker": "uploads.contrib.clamd.check"}
    mine = {"BACKEND": "portal.destination.PortalDestination", "OPTIONS": checker}
    uploads_settings(DESTINATIONS={"default": mine})
    assert "uploads.W011" in [message.id for message in check_forms()]
    forms = {"BACKEND": "uploads.forms.destination.FormDestination", "OPTIONS": checker}
    uploads_settings(DESTINATIONS={"default": mine, "forms": forms})
    assert "uploads.W011" not in [message.id for message in check_forms()]


def test_missing_middleware_and_urls_are_reported(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "UploadForm" not in name]
    assert "uploads.W012" in [message.id for message in check_forms()]
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "uploads.forms.middleware.UploadFormMiddleware"]
    assert [message.id for message in check_forms()] == []
    settings.ROOT_URLCONF = "uploads.urls.onlyoffice"
    assert "uploads.W013" in [message.id for message in check_forms()]


class Hashed(ManifestStaticFilesStorage):
    support_js_module_import_aggregation = True


def test_script_imports_work_with_hashed_files(settings: Any, tmp_path: Path) -> None:
    def use(backend: str) -> list[str | None]:
        settings.STATIC_ROOT = str(tmp_path)
        settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": backend}}
        return [message.id for message in check_forms()]

    assert use("django.contrib.staticfiles.storage.ManifestStaticFilesStorage") == ["uploads.W015"]
    assert use(f"{__name__}.Hashed") == []
    call_command("collectstatic", interactive=False, verbosity=0)
    (script,) = tmp_path.glob("uploads/upload-drop.*.js")
    (imported,) = re.findall(r'import \{ UploadQueue \} from "./(.*)"', script.read_text())
    assert imported != "upload.js"
    assert (tmp_path / "uploads" / imported).exists()


def test_form_works_without_javascript(browser: Client) -> None:
    answer = post(browser, file=SimpleUploadedFile("plain.pdf", b"plain"))
    assert answer.status_code == 302
    assert content(Document.objects.get().file) == b"plain"
    answer = post(browser, file=SimpleUploadedFile("plain.exe", b"plain"))
    assert "not accepted" in answer.content.decode()


def test_form_takes_several_files(browser: Client, store: Store) -> None:
    tokens = [uploaded(browser, b"a", "attachments", "a.txt"), uploaded(browser, b"b", "attachments", "b.txt")]
    payload = {"file-token": uploaded(browser), "attachments-token": tokens}
    assert post(browser, attachments=SimpleUploadedFile("c.txt", b"c"), **payload).status_code == 302
    assert sorted(content(one.file) for one in Attachment.objects.all()) == [b"a", b"b", b"c"]


def test_unused_form_files_are_deleted(browser: Client, store: Store, uploads_settings: Callable[..., None]) -> None:
    token = uploaded(browser)
    assert len(names_in(store)) == 1
    sessions.expire_stale(batch_size=10)
    assert PendingFile.objects.count() == 1
    PendingFile.objects.update(since=timezone.now() - timedelta(days=2))
    sessions.expire_stale(batch_size=10)
    assert (PendingFile.objects.count(), names_in(store)) == (0, set())
    assert "has expired" in post(browser, **{"file-token": token}).content.decode()


def test_removing_an_upload_deletes_its_file(browser: Client, store: Store) -> None:
    uploaded(browser)
    session = UploadSession.objects.get()
    assert browser.delete(f"/uploads/{session.pk.hex}", headers={"Tus-Resumable": "1.0.0"}).status_code == 204
    assert (PendingFile.objects.count(), names_in(store)) == (0, set())


def test_client_cannot_delete_a_taken_file(browser: Client, store: Store) -> None:
    post(browser, **{"file-token": uploaded(browser)})
    session = UploadSession.objects.get()
    assert browser.delete(f"/uploads/{session.pk.hex}", headers={"Tus-Resumable": "1.0.0"}).status_code == 204
    assert names_in(store) == {Document.objects.get().file.name}


def test_audit_keeps_form_files(browser: Client, store: Store, uploads_settings: Callable[..., None]) -> None:
    uploads_settings(OBJECT_PREFIX="documents", AUDIT_GRACE=timedelta(microseconds=1))
    post(browser, **{"file-token": uploaded(browser)})
    uploaded(browser)
    assert sessions.audit(fix=True).orphans == 0
    assert len(names_in(store)) == 2


# Semantics of ClearableFileInput


class OptionalForm(forms.Form):
    file = UploadField(required=False, validators=[lambda file: _refuse(file)])


def _refuse(file: Any) -> None:
    if content(file) == b"bad":
        message = "no good"
        raise ValidationError(message)


class Initial:
    url = "/old"

    def __str__(self) -> str:
        return "old.pdf"


@pytest.mark.parametrize(
    ("data", "initial", "cleaned", "changed"),
    [
        ({}, None, None, False),
        ({}, Initial(), "initial", False),
        ({"file-clear": "on"}, Initial(), False, True),
        ({"file-clear": "on", "file-token": "{token}"}, Initial(), "contradiction", True),
        ({"file-token": "{token}"}, Initial(), "stored", True),
        ({"file-token": "{token}"}, None, "stored", True),
    ],
)
def test_field_follows_clearable_file_input(
    browser: Client, user: User, data: dict[str, str], initial: Any, cleaned: Any, *, changed: bool
) -> None:
    def view(_request: Any) -> None:
        page = str(OptionalForm()["file"])
        token = send(browser, ticket_on(page, "file"), b"good")["file"]["details"]["token"]
        payload = {name: value.format(token=token) for name, value in data.items()}
        form = OptionalForm(payload, initial={"file": initial})
        assert form.has_changed() == changed
        if cleaned == "contradiction":
            assert form.errors.as_data()["file"][0].code == "contradiction"
            return
        assert form.is_valid(), form.errors
        found = form.cleaned_data["file"]
        if cleaned == "stored":
            assert isinstance(found, StoredFile)
            assert (content(found), found.size, found.original_name) == (b"good", 4, "report.pdf")
        else:
            assert found is (initial if cleaned == "initial" else cleaned)

    as_user(user, view)


class Strict(forms.Form):
    file = UploadField(max_length=9)


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [("a.pdf", b"", "empty"), ("longer-name.pdf", b"x", "max_length"), ("short.pdf", b"x", "")],
)
def test_django_validation_applies_to_uploaded_files(
    browser: Client, user: User, name: str, data: bytes, code: str
) -> None:
    def view(_request: Any) -> None:
        token = send(browser, ticket_on(str(Strict()["file"]), "file"), data, name)["file"]["details"]["token"]
        sent = Strict({"file-token": token}).errors.as_data().get("file", [])
        files: Any = {"file": SimpleUploadedFile(name, data)}
        plain = Strict({}, files).errors.as_data().get("file", [])
        assert [error.code for error in sent] == [error.code for error in plain] == ([code] if code else [])

    as_user(user, view)


def test_file_belongs_to_one_row(browser: Client, user: User) -> None:
    """Another row's queue on the page may find the same open upload."""

    def view(_request: Any) -> None:
        token = send(browser, ticket_on(str(OptionalForm()["file"]), "file"), b"good")["file"]["details"]["token"]
        rows = [OptionalForm({f"{row}-file-token": token}, prefix=row) for row in ("a", "b")]
        assert [form.is_valid() for form in rows] == [True, False]
        assert OptionalForm({"a-file-token": token}, prefix="a").is_valid()

    as_user(user, view)


@pytest.mark.parametrize("clear", [{}, {"file-clear": "on"}])
def test_redisplayed_form_shows_both_files(browser: Client, user: User, clear: dict[str, str]) -> None:
    def view(_request: Any) -> None:
        token = send(browser, ticket_on(str(OptionalForm()["file"]), "file"), b"good")["file"]["details"]["token"]
        page = str(OptionalForm({"file-token": token} | clear, initial={"file": Initial()})["file"])
        assert f'value="{token}"' in page
        assert 'href="/old"' in page
        assert "file-clear" in page

    as_user(user, view)


def test_image_field_uses_widget_accept_attribute() -> None:
    chosen = ImageUploadField(widget=UploadWidget(attrs={"accept": "image/png"}))
    assert chosen.widget.attrs["accept"] == "image/png"
    assert ImageUploadField().widget.attrs["accept"] == "image/*"


def test_validators_read_the_uploaded_file(browser: Client, user: User) -> None:
    def view(_request: Any) -> None:
        ticket = ticket_on(str(OptionalForm()["file"]), "file")
        token = send(browser, ticket, b"bad")["file"]["details"]["token"]
        form = OptionalForm({"file-token": token})
        assert form.errors["file"] == ["no good"]

    as_user(user, view)
    assert PendingFile.objects.count() == 1


def test_unusable_field_has_a_plain_widget(user: User, rf: RequestFactory) -> None:
    """Disabled fields and fields of anonymous users get a plain widget.

    A field without file and token counts as omitted.
    """
    assert "<upload-drop" not in str(OptionalForm()["file"])

    class Disabled(forms.Form):
        file = UploadField(disabled=True)
        several = MultipleUploadField(required=False)

    def view(_request: Any) -> None:
        form = Disabled()
        assert "<upload-drop" not in str(form["file"])
        assert "multiple" in str(form["several"])
        widget = form.fields["several"].widget
        assert widget.value_omitted_from_data({}, {}, "several")
        assert not widget.value_omitted_from_data({"several-token": "x"}, {}, "several")
        assert 'type="module"' in str(form.media)

    as_user(user, view)


nested = [path("forms/", include("uploads.urls.forms"))]
urlpatterns = [path("<slug:tenant>/app/", include((nested, "app")))]


def test_urls_may_have_namespace_and_parameter(user: User, rf: RequestFactory, settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    request: Any = rf.get("/acme/app/documents/3/")
    request.user = user
    request.resolver_match = SimpleNamespace(kwargs={"pk": 3, "tenant": "acme"})

    def show(_request: Any) -> HttpResponse:
        return HttpResponse(str(OptionalForm()["file"]))

    answer: Any = UploadFormMiddleware(show)(request)
    assert 'endpoint="/acme/app/forms/"' in answer.content.decode()
    assert check_forms() == []


def test_admin_forms_use_upload_fields(admin_client: Client, admin_user: User, store: Store) -> None:
    page = admin_client.get("/admin/portal/document/add/").content.decode()
    assert page.count("<upload-drop") == 4, "the field, those that inlines are made of, and an empty row"
    assert 'name="attachments-__prefix__-file"' in page
    token = send(admin_client, ticket_on(page, "file"), b"main", "main.bin")["file"]["details"]["token"]
    inline = ticket_on(page, "attachments-__prefix__-file")
    attached = send(admin_client, inline, b"attached")["file"]["details"]["token"]
    payload = {
        "owner": admin_user.pk,
        "title": "By the admin",
        "created_0": "2026-01-01",
        "created_1": "00:00",
        "file-token": token,
        "attachments-TOTAL_FORMS": "1",
        "attachments-INITIAL_FORMS": "0",
        "attachments-0-file-token": attached,
        "attachments-2-TOTAL_FORMS": "0",
        "attachments-2-INITIAL_FORMS": "0",
    }
    answer = admin_client.post("/admin/portal/document/add/", payload)
    assert answer.status_code == 302, answer.content.decode()
    document = Document.objects.get()
    assert (content(document.file), content(document.attachments.get().file)) == (b"main", b"attached")
    page = admin_client.get(f"/admin/portal/document/{document.pk}/change/").content.decode()
    assert "Currently" in page


class DocumentSerializer(serializers.ModelSerializer[Document]):
    file = UploadTokenField(limits=Limits(label="api.document", upload_to="documents", max_size=10))

    class Meta:
        model = Document
        fields = ("title", "file")


def test_serializer_accepts_a_token(api: APIClient, user: User, other_user: User, store: Store) -> None:
    field = DocumentSerializer().fields["file"]
    assert isinstance(field, UploadTokenField)
    token = send(api, field.ticket(user), b"abc")["file"]["details"]["token"]
    request = RequestFactory().get("/")

    def serializer(whose: User) -> DocumentSerializer:
        request.user = whose
        return DocumentSerializer(data={"title": "x", "file": token}, context={"request": request})

    assert not serializer(other_user).is_valid()
    good = serializer(user)
    assert good.is_valid(), good.errors
    with transaction.atomic():
        document = good.save(owner=user)
    assert content(document.file) == b"abc"
    assert DocumentSerializer(document).data["file"]
    assert not serializer(user).is_valid()
    answer = send(api, field.ticket(user), bytes(11))
    assert answer.json()["code"] == "file_too_large"


def image(width: int, height: int) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (width, height)).save(written, "PNG")
    return written.getvalue()


@isolate_apps("portal")
@pytest.mark.parametrize(
    ("name", "sent", "why"),
    [
        ("house.png", image(30, 20), ""),
        ("house.png", b"no image", "not an image or a corrupted image"),
        ("house.txt", image(30, 20), "File extension “txt” is not allowed"),
    ],
    ids=["an image", "no image", "another name"],
)
def test_image_field_validates_images_and_fills_dimensions(
    browser: Client, user: User, name: str, sent: bytes, why: str
) -> None:
    """Match Django's ImageField, including its width_field and height_field."""

    class Picture(models.Model):
        image = models.ImageField(upload_to="pictures", max_length=255, width_field="width", height_field="height")
        width = models.IntegerField()
        height = models.IntegerField()

        class Meta:
            app_label = "portal"

    made = forms.modelform_factory(Picture, fields=["image"], field_classes={"image": ImageUploadField})

    def ask(request: Any) -> Any:
        page = str(made()["image"])
        assert 'accept="image/*"' in page
        token = send(browser, ticket_on(page, "image"), sent, name)["file"]["details"]["token"]
        form = made({"image-token": token})
        assert form.is_valid() is not bool(why), form.errors
        assert why in str(form.errors)
        if why:
            return
        picture = form.save(commit=False)
        assert (picture.width, picture.height) == (30, 20)
        assert form.cleaned_data["image"].image.format == "PNG"
        Picture._meta.get_field("image").pre_save(picture, add=True)
        assert content(picture.image) == sent
        assert (picture.image.width, picture.image.height) == (30, 20)

    as_user(user, ask)
    assert PendingFile.objects.exists() is bool(why)
