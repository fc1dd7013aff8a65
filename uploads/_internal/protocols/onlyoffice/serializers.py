"""Fields that clients send. ``answers`` has the fields of responses, which differ."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from rest_framework import serializers

from uploads._internal.protocols.onlyoffice import conf, dates
from uploads._internal.sessions import FileRequest


def file_request(**options: Any) -> FileRequest:
    """Return the file that a client describes, with this protocol's rules."""
    return FileRequest(**options, rules=conf.current().rules, longest_title=conf.LONGEST_TITLE)


class SizeField(serializers.IntegerField):
    """A number of bytes, or its decimal text."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or (isinstance(data, float) and not (math.isfinite(data) and data.is_integer())):
            self.fail("invalid")
        return super().to_internal_value(data)


class FlagField(serializers.BooleanField):
    """A boolean as JSON or forms spell it; null and empty text mean false."""

    def to_internal_value(self, data: Any) -> bool:
        if data is None or data == "":
            return False
        return bool(super().to_internal_value(data))


class MomentField(serializers.Field[Any, Any, Any, Any]):
    """A date in any form that the protocol's clients write.

    ``{}`` and empty text mean None.
    """

    default_error_messages = {"invalid": "not a date that can be read"}

    def to_internal_value(self, data: Any) -> datetime | None:
        if isinstance(data, dict):
            data = next((value for name, value in data.items() if str(name).lower() == "utctime"), "")
        if data in ("", None):
            return None
        try:
            return dates.parse(data)
        except (TypeError, ValueError, AttributeError):
            self.fail("invalid")


class EditRequest(serializers.Serializer[Any]):
    """The query or body of edit_session."""

    filesize = SizeField(default=0, min_value=0)


class CheckRequest(serializers.Serializer[Any]):
    """The body of upload/check."""

    filestitle = serializers.ListField(child=serializers.CharField(max_length=4096), max_length=1000)


class InitiateRequest(serializers.Serializer[Any]):
    """The query of ``ChunkedUploader.ashx?initiate=true``."""

    title = serializers.CharField(trim_whitespace=False, max_length=4096)
    folderid = serializers.CharField(max_length=255)
    filesize = SizeField(default=0, min_value=0)
    encrypted = FlagField(default=False, allow_null=True)

    def file_request(self) -> FileRequest:
        data = self.validated_data
        return file_request(name=data["title"], size=data["filesize"], encrypted=bool(data["encrypted"]))


class WholeFileRequest(serializers.Serializer[Any]):
    """The file's name in the form, and the fields of the query or form."""

    filename = serializers.CharField(trim_whitespace=False, max_length=4096, default="", allow_blank=True)
    title = serializers.CharField(trim_whitespace=False, max_length=4096, default="", allow_blank=True)
    createnewifexist = FlagField(default=False, allow_null=True)

    def file_request(self, at_most: int | None) -> FileRequest:
        data = self.validated_data
        name = data["title"] or data["filename"]
        return file_request(name=name, size=None, at_most=at_most, create_new=bool(data["createnewifexist"]))


class SessionRequest(serializers.Serializer[Any]):
    """The body of create_session. Field names are matched in lower case."""

    filename = serializers.CharField(trim_whitespace=False, max_length=4096)
    filesize = SizeField(default=0, min_value=0)
    relativepath = serializers.CharField(default="", allow_blank=True, allow_null=True, max_length=4096)
    createon = MomentField(default=None, allow_null=True)
    encrypted = FlagField(default=False, allow_null=True)
    createnewifexist = FlagField(default=False, allow_null=True)

    def file_request(self) -> FileRequest:
        data = self.validated_data
        return file_request(
            name=data["filename"],
            size=data["filesize"],
            relative_path=data["relativepath"] or "",
            created_at=data["createon"],
            encrypted=bool(data["encrypted"]),
            create_new=bool(data["createnewifexist"]),
        )
