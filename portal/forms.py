from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

from portal.models import Document, File, Folder
from uploads import names
from uploads.exceptions import InvalidName
from uploads.forms import MultipleUploadField, UploadField

if TYPE_CHECKING:
    PlacedForm = forms.ModelForm[Any]
    DocumentModelForm = forms.ModelForm[Document]
else:
    PlacedForm = DocumentModelForm = forms.ModelForm


class TitleField(forms.CharField):
    def clean(self, value: Any) -> str:
        title = super().clean(value)
        try:
            return names.clean(title)
        except InvalidName as error:
            raise ValidationError(str(error), error.code) from error


class _Placed(PlacedForm):
    """Rename or move an item with a title within the folders of its owner."""

    title = TitleField(label="Name")
    place = ""

    def __init__(self, *args: Any, owner: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields[self.place].queryset = self.places(Folder.objects.filter(owner=owner))  # type: ignore[attr-defined]
        self.fields[self.place].required = self.fields["title"].required = False

    def places(self, folders: Any) -> Any:
        return folders

    def clean(self) -> dict[str, Any]:
        payload = super().clean() or {}
        # Fields missing in the form keep their values.
        for name in ("title", self.place):
            payload[name] = payload.get(name) or getattr(self.instance, name)
        return payload


class FolderForm(_Placed):
    place = "parent"

    class Meta:
        model = Folder
        fields = ("title", "parent")

    def places(self, folders: Any) -> Any:
        below = [folder.pk for folder in folders if self.instance.pk in folder.path]
        return folders.exclude(pk__in=below)


class FileForm(_Placed):
    place = "folder"

    class Meta:
        model = File
        fields = ("title", "folder")

    def save(self, commit: bool = True) -> Any:  # noqa: FBT001, FBT002 - Django's
        # A new version may arrive concurrently; do not overwrite its columns.
        self.instance.save(update_fields=self._meta.fields)
        return self.instance


class DocumentForm(DocumentModelForm):
    """Accept files of any size; only the fields differ from a usual form."""

    file = UploadField(extensions=[".pdf", ".txt", ".png", ".bin", ".mp4"], max_size=100 * 2**30)
    attachments = MultipleUploadField(required=False)

    class Meta:
        model = Document
        fields = ("title", "file")
