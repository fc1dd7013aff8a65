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
    default_error_messages = {"required": "Enter a name."}

    def clean(self, value: Any) -> str:
        title = super().clean(value)
        try:
            return names.clean(title)
        except InvalidName as error:
            raise ValidationError(str(error), error.code) from error


class _Placed(PlacedForm):
    """Create, rename or move an item within the folders of its owner; a field that is not sent stays as it is."""

    title = TitleField()

    def __init__(self, data: Any, *, owner: Any, instance: File | Folder) -> None:
        super().__init__(data, instance=instance)
        place: Any = self.fields[instance.place]
        place.required = True
        place.queryset = self.places(Folder.objects.filter(owner=owner, trashed=None))
        place.error_messages = {
            "required": "Choose a folder.",
            "invalid_choice": "Choose another folder: this one is gone, or is inside the folder to move.",
        }
        for name in {"title", instance.place} - set(data):
            del self.fields[name]

    def places(self, folders: Any) -> Any:
        return folders

    def clean(self) -> dict[str, Any]:
        payload = super().clean() or {}
        title, place = (payload.get(name, getattr(self.instance, name)) for name in ("title", self.instance.place))
        same = type(self.instance).objects.filter(**{self.instance.place: place}, title=title, trashed=None)
        if same.exclude(pk=self.instance.pk).exists():
            message = f"“{title}” already exists in “{place}”. Choose another name."
            raise ValidationError(message)
        return payload

    def save(self, commit: bool = True) -> Any:  # noqa: FBT001, FBT002 - Django's
        # Another request may change other columns at the same time; do not overwrite them.
        self.instance.save(update_fields=[*self.fields] if self.instance.pk else None)
        return self.instance


class FolderForm(_Placed):
    class Meta:
        model = Folder
        fields = ("title", "parent")

    def places(self, folders: Any) -> Any:
        below = [folder.pk for folder in folders if self.instance.pk in folder.path]
        return folders.exclude(pk__in=below)


class FileForm(_Placed):
    class Meta:
        model = File
        fields = ("title", "folder")


class DocumentForm(DocumentModelForm):
    """Accept files of any size; only the fields differ from a usual form."""

    file = UploadField(
        extensions=[".pdf", ".txt", ".png", ".bin", ".mp4"],
        max_size=100 * 2**30,
        error_messages={"required": "Choose a file."},
    )
    attachments = MultipleUploadField(required=False)

    class Meta:
        model = Document
        fields = ("title", "file")
        error_messages = {
            "title": {"required": "Enter a title.", "max_length": "Shorten the title to %(limit_value)d characters."}
        }
