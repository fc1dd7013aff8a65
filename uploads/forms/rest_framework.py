"""A REST framework serializer field that takes the token of an uploaded file."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from uploads.exceptions import UploadError
from uploads.forms.files import StoredFile
from uploads.forms.tokens import Limits, pending_session, ticket

__all__ = ["Limits", "UploadTokenField"]


class UploadTokenField(serializers.CharField):
    """Validate a token to a ``StoredFile``; a ModelSerializer's ``save`` takes the file.

    Clients send the file to ``uploads.urls.forms`` with the field's ticket (``UploadTokenField.ticket``) as the
    metadata ``field``. Then they submit the token of the finished upload (``details.token``).
    The field's representation is the file's URL.
    """

    default_error_messages = {"gone": "This file has already been used or has expired. Upload it again."}

    def __init__(self, *, limits: Limits, **options: Any) -> None:
        self.limits = limits
        super().__init__(**options)

    def ticket(self, user: Any) -> str:
        return ticket(user, self.limits)

    def to_internal_value(self, data: Any) -> Any:
        try:
            session = pending_session(super().to_internal_value(data), self.context["request"].user, self.limits)
        except UploadError as error:
            raise serializers.ValidationError(str(error), error.code) from error
        if session is None:
            self.fail("gone")
        return StoredFile(session)

    def to_representation(self, value: Any) -> Any:
        return value.url if value else None
