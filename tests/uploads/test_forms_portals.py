"""Form fields in portals with other packages, policies, storages and functions for ``upload_to``."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django import forms
from django.contrib.auth.models import User
from django.core.files.storage import FileSystemStorage
from django.http import HttpResponse
from django.template import engines
from django.test import Client

from portal.models import Attachment, Document
from tests.uploads.test_forms import OptionalForm, as_user, send, ticket_on
from uploads._internal.stores.base import Store
from uploads.forms import MultipleUploadField, UploadField
from uploads.forms.checks import check_forms
from uploads.forms.fields import limits_in
from uploads.forms.middleware import UploadFormMiddleware
from uploads.forms.tokens import Limits
from uploads.models import PendingFile, UploadSession

pytestmark = pytest.mark.usefixtures("forget_forms")


@pytest.fixture
def forget_forms() -> Iterator[None]:
    """Delete the form classes of the test, which the system checks would find later."""
    yield
    gc.collect()


def attachment_form() -> type[forms.ModelForm[Attachment]]:
    return forms.modelform_factory(Attachment, fields=["file"], field_classes={"file": UploadField})


def by_relation(instance: Any, name: str) -> str:
    return f"{instance.document.owner.username}/{name}"


def test_crispy_forms_shows_the_upload_element(user: User, settings: Any) -> None:
    pytest.importorskip("crispy_bootstrap5")
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "crispy_forms", "crispy_bootstrap5"]
    settings.CRISPY_ALLOWED_TEMPLATE_PACKS = settings.CRISPY_TEMPLATE_PACK = "bootstrap5"
    settings.TEMPLATES = list(settings.TEMPLATES)  # Reloads the template libraries.

    class Crispy(forms.Form):
        file = UploadField()
        several = MultipleUploadField(required=False)

    template = engines.all()[0].from_string("{% load crispy_forms_tags %}{{ form|crispy }}")
    page = as_user(user, lambda _request: template.render({"form": Crispy({})}))
    assert page.count("<upload-drop") == 2
    assert "form-control is-invalid" in page.split("<upload-drop")[1].split(">")[0]


def test_packages_do_not_draw_the_field(user: User) -> None:
    """crispy-forms and others replace the markup of every FileInput; the element needs its own."""
    assert not isinstance(OptionalForm().fields["file"].widget, forms.FileInput)
    page = as_user(user, lambda _request: OptionalForm()["file"].as_widget(attrs={"class": "form-control is-invalid"}))
    assert 'class="form-control is-invalid"' in page.split("<input")[0]


def test_element_refers_to_its_error(user: User) -> None:
    class Required(forms.Form):
        file = UploadField()

    page = as_user(user, lambda _request: str(Required({})))
    assert '<ul class="errorlist" id="id_file_error">' in page
    assert 'aria-describedby="id_file_error"' in page.split("<upload-drop")[1].split("<input")[0]


@pytest.mark.parametrize("attribute", ["_csp_nonce", "csp_nonce"], ids=["django", "django-csp"])
def test_script_has_the_nonce_of_its_request(rf: Any, user: User, attribute: str) -> None:
    def media(nonce: str) -> Any:
        request = rf.get("/")
        setattr(request, attribute, nonce)
        page: Any = UploadFormMiddleware(lambda _request: HttpResponse(str(OptionalForm().media)))(request)
        return page.content.decode()

    assert 'nonce="first" type="module"' in media("first")
    assert 'nonce="second"' in media("second")
    assert "nonce" not in f"{OptionalForm().media}"


def test_upload_to_without_relations_is_neutral(
    client: Client, user: User, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Attachment._meta.get_field("file"), "upload_to", by_relation)
    form = attachment_form()
    client.force_login(user)
    ticket = ticket_on(as_user(user, lambda _request: str(form()["file"])), "file")
    token = send(client, ticket, b"abc")["file"]["details"]["token"]

    def save(_request: Any) -> Any:
        document = Document.objects.create(owner=user, title="x")
        made = form({"file-token": token}, instance=Attachment(document=document))
        assert made.is_valid(), made.errors
        return made.save().file.name

    name = as_user(user, save)
    assert name == UploadSession.objects.get().object_name
    assert (name.split("/")[0], name.split("/")[-1]) == ("form-uploads", "report.pdf")
    assert not PendingFile.objects.exists()


def test_failing_upload_to_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    form = attachment_form()
    assert check_forms() == []
    monkeypatch.setattr(Attachment._meta.get_field("file"), "upload_to", by_relation)
    (message,) = check_forms()
    assert message.id == "uploads.W018"
    assert "portal.Attachment.file" in message.msg
    assert form.base_fields


@pytest.mark.parametrize("storage", ["unknown", "memory"])
def test_unusable_storage_of_a_field_is_reported(settings: Any, storage: str) -> None:
    settings.STORAGES = settings.STORAGES | {"memory": {"BACKEND": "django.core.files.storage.InMemoryStorage"}}

    class Elsewhere(forms.Form):
        file = UploadField(storage=storage)

    (message,) = check_forms()
    assert message.id == "uploads.E054"
    assert "Elsewhere" in message.msg
    assert Elsewhere.base_fields


def test_storage_without_alias_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    form = attachment_form()
    monkeypatch.setattr(Attachment._meta.get_field("file"), "storage", FileSystemStorage(tmp_path))
    (message,) = check_forms()
    assert message.id == "uploads.E054"
    assert "portal.Attachment.file" in message.msg
    assert form.base_fields


def test_storage_equal_to_an_alias_is_used(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package's model has a storage of its own, which STORAGES repeats."""
    backend = "django.core.files.storage.FileSystemStorage"
    settings.STORAGES = settings.STORAGES | {"theirs": {"BACKEND": backend, "OPTIONS": {"location": str(tmp_path)}}}
    column = Attachment._meta.get_field("file")
    monkeypatch.setattr(column, "storage", FileSystemStorage(location=str(tmp_path)))
    form = attachment_form()
    assert check_forms() == []
    assert limits_in(Limits(), form, "file").storage == "theirs"


@pytest.mark.usefixtures("small_chunks")
def test_failing_upload_to_of_a_destination_is_neutral(
    uploaded: Callable[..., UploadSession], uploads_settings: Callable[..., None], user: User, monkeypatch: Any
) -> None:
    monkeypatch.setattr(Document._meta.get_field("file"), "upload_to", by_relation)
    documents = {"BACKEND": "uploads.destinations.ModelDestination", "OPTIONS": {"model": "portal.Document"}}
    uploads_settings(DESTINATION="", DESTINATIONS={"default": documents}, OBJECT_PREFIX="neutral")
    session = uploaded(user, "a.txt", b"abc")
    assert session.object_name.split("/")[0] == "neutral"
    assert Document.objects.get().file.name == session.object_name


class Kept(str):
    """A file of a model's field: its text is the object's name."""

    __slots__ = ()

    @property
    def url(self) -> str:
        return f"/files/{self}"


def test_existing_files_are_shown_by_base_name() -> None:
    class Several(forms.Form):
        file = UploadField(required=False)
        attachments = MultipleUploadField(required=False)

    kept = [Kept(f"documents/2026/12/hX3-signature/{name}") for name in ("book.pdf", "page.pdf")]
    page = str(Several(initial={"file": kept[0], "attachments": kept}))
    assert page.count(f'<a href="{kept[0].url}">book.pdf</a>') == 2
    assert f'<a href="{kept[1].url}">page.pdf</a>' in page
    form = Several({}, initial={"file": kept[0], "attachments": kept})
    assert form.is_valid()
    assert form.cleaned_data == {"file": kept[0], "attachments": kept}
    assert form.changed_data == []
