"""Enforce the rules of a model's file field, and translate its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.core.files.base import ContentFile
from django.core.validators import FileExtensionValidator, get_available_image_extensions, validate_image_file_extension
from django.db import models

from uploads._internal.stores import get_store
from uploads._internal.stores.reader import open_object
from uploads.exceptions import NotAccepted

if TYPE_CHECKING:
    from uploads.models import UploadSession


@contextmanager
def refusing() -> Iterator[None]:
    """Convert validation errors of the model to NotAccepted."""
    try:
        yield
    except ValidationError as error:
        found = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
        texts = [
            text if name == NON_FIELD_ERRORS else f"{name}: {text}" for name, texts in found.items() for text in texts
        ]
        raise NotAccepted(reason=" ".join(texts)) from error


def require_extension(field: Any, name: str) -> None:
    """Raise ValidationError if the field, or its form field, does not take files with this extension."""
    form_field = field.formfield()
    for validator in (*field.validators, *(form_field.validators if form_field else ())):
        if isinstance(validator, FileExtensionValidator) or validator is validate_image_file_extension:
            validator(ContentFile(b"", name=name))


def require_image(field: models.FileField, session: UploadSession) -> None:
    """Raise ValidationError if the field takes images and Pillow cannot read the file.

    Formats that Pillow does not know, such as SVG, are left to the model.
    """
    known = PurePath(session.file_name).suffix[1:].lower() in get_available_image_extensions()
    if not (isinstance(field, models.ImageField) and known):
        return
    from PIL import Image

    with open_object(get_store(session.storage), session.object_name, session.file_size) as file:
        try:
            with Image.open(file) as image:
                image.verify()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            message = "it is not a valid image"
            raise ValidationError(message) from error
