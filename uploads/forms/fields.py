"""Fields that work like Django's FileField but receive their files through upload sessions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.core.validators import validate_image_file_extension
from django.db import models
from django.forms.widgets import FILE_INPUT_CONTRADICTION
from django.utils.translation import gettext_lazy as _

from uploads import names
from uploads._internal.checks import check_bytes
from uploads._internal.stores import alias_of
from uploads.exceptions import UploadError
from uploads.forms.files import GONE, StoredFile
from uploads.forms.middleware import claimed, current_user
from uploads.forms.tokens import Limits, pending_session
from uploads.forms.widgets import AdminUploadWidget, MultipleUploadWidget, Token, UploadWidget


class UploadField(forms.FileField):
    """A ``FileField`` that cleans to a ``StoredFile``.

    Without JavaScript, it cleans to Django's own UploadedFile. ``max_size`` is in bytes. In a ModelForm,
    ``upload_to``, storage and lengths are those of the model's field; elsewhere, pass them as arguments.
    """

    widget = UploadWidget
    html_name = ""
    default_error_messages = {
        "gone": GONE,
        "too_large": _("The file is larger than %(maximum)d bytes."),
    }

    def __init__(
        self,
        *,
        max_size: int | None = None,
        extensions: Iterable[str] = (),
        storage: str = "default",
        upload_to: str = "",
        **options: Any,
    ) -> None:
        widget = options.get("widget")
        if widget is not None and _is_admins(widget):  # The admin passes its own widget to every FileField.
            options["widget"] = AdminUploadWidget
        self.limits = Limits(
            storage=storage, upload_to=upload_to, max_size=max_size, extensions=tuple(e.lower() for e in extensions)
        )
        super().__init__(**options)

    def get_bound_field(self, form: forms.BaseForm, field_name: str) -> Any:
        self.widget.limits = self.limits = limits_in(self.limits, type(form), field_name)
        for problem in check_bytes(self.limits.storage):
            raise ImproperlyConfigured(problem.msg)
        self.html_name = form.add_prefix(field_name)
        return super().get_bound_field(form, field_name)

    def to_python(self, data: Any) -> Any:
        if not isinstance(data, Token):
            file = super().to_python(data)
            if isinstance(file, UploadedFile):
                self._check_plain(file)
            return file
        try:
            session = pending_session(data, current_user(), self.limits)
        except UploadError as error:
            raise ValidationError(str(error), error.code) from error
        if session is None or claimed(data, self.html_name) != self.html_name:
            raise ValidationError(self.error_messages["gone"], "gone")
        if not (session.file_size or self.allow_empty_file):
            raise ValidationError(self.error_messages["empty"], "empty")
        length = len(session.file_name)
        # A model's column holds the object's name, which is truncated to fit, so the title's length does not matter.
        if self.max_length is not None and self.limits.longest == Limits.longest and length > self.max_length:
            params = {"max": self.max_length, "length": length}
            raise ValidationError(self.error_messages["max_length"], "max_length", params)
        return StoredFile(session)

    def _check_plain(self, file: Any) -> None:
        most, name = self.limits.max_size, (file.name or "").lower()
        if most is not None and (file.size or 0) > most:
            raise ValidationError(self.error_messages["too_large"], "too_large", {"maximum": most})
        if self.limits.extensions and not name.endswith(self.limits.extensions):
            message = _("Files of this type are not accepted. Accepted types: %(allowed)s.")
            raise ValidationError(message, "extension_not_allowed", {"allowed": ", ".join(self.limits.extensions)})


class MultipleUploadField(UploadField):
    """Accept several files; clean to a list of them."""

    widget = MultipleUploadWidget

    def clean(self, data: Any, initial: Any = None) -> Any:
        if data is FILE_INPUT_CONTRADICTION or not data:
            return super().clean(data, initial) or []
        return [super(MultipleUploadField, self).clean(one, None) for one in data]


class ImageUploadField(UploadField):
    """Accept only images, like Django's ``ImageField``; needs Pillow. Cleaning reads the image."""

    default_validators = [validate_image_file_extension]
    default_error_messages = {"invalid_image": forms.ImageField.default_error_messages["invalid_image"]}

    def to_python(self, data: Any) -> Any:
        from PIL import Image

        file = super().to_python(data)
        if file is None:
            return None
        try:
            file.image = Image.open(file.open())
            file.image.verify()
        except UploadError as error:  # The store is unavailable.
            raise ValidationError(str(error), error.code) from error
        except Exception as error:  # Pillow raises many types of exceptions for invalid images.
            raise ValidationError(self.error_messages["invalid_image"], "invalid_image") from error
        finally:
            if isinstance(file, StoredFile):
                file.close()  # The next reader opens it again.
            else:
                file.seek(0)
        file.content_type = Image.MIME.get(file.image.format or "")
        return file

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        attrs: dict[str, Any] = {} if "accept" in widget.attrs else {"accept": "image/*"}
        return attrs | super().widget_attrs(widget)


def _is_admins(widget: Any) -> bool:
    from django.contrib.admin.widgets import AdminFileWidget

    kind = widget if isinstance(widget, type) else type(widget)
    return issubclass(kind, AdminFileWidget)


def limits_in(limits: Limits, form: type[forms.BaseForm], name: str) -> Limits:
    """Return the limits of a form's field, completed from the form's model."""
    label = f"{form.__module__}.{form.__qualname__}.{name}"[:500]
    model = getattr(getattr(form, "_meta", None), "model", None)
    column: Any = None
    if model is not None and any(field.name == name for field in model._meta.get_fields()):
        column = model._meta.get_field(name)
    values: dict[str, Any] = {"label": label}
    if isinstance(column, models.FileField):
        # The admin creates its form classes anew in each process, and several of them for an inline.
        values["label"] = f"{column.model._meta.label_lower}.{name}"
        values |= {"storage": alias_of(column), "longest": column.max_length or limits.longest}
        if not callable(column.upload_to) and values["longest"] < names.least_length(column.upload_to):
            message = f"{column} has max_length={column.max_length}, too short for object names: set max_length=255."
            raise ImproperlyConfigured(message)
        if callable(column.upload_to):
            values["model_field"] = values["label"]
        else:
            values["upload_to"] = str(column.upload_to)
    return Limits(**vars(limits) | values)
