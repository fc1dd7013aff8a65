"""Serializers of responses, which also generate their OpenAPI description."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rest_framework import serializers

from uploads._internal.protocols.onlyoffice.dates import format_date
from uploads._internal.protocols.onlyoffice.location import location_url
from uploads.destinations import Id
from uploads.models import Mode, State, UploadSession


class Moment(serializers.DateTimeField):
    """A date as the protocol writes it."""

    def to_representation(self, value: datetime) -> str:
        return format_date(value)


class Session(serializers.Serializer[Any]):
    """The ``<session>`` object. ``location`` always has a ``?``, because clients append ``&…`` to it."""

    id = serializers.CharField(source="id.hex", help_text="32 hexadecimal digits.")
    path = serializers.ListField(help_text="Folder ids from the root, integers or strings.")
    created = Moment(source="created_at")
    expired = Moment(source="expires_at")
    location = serializers.SerializerMethodField()
    bytes_uploaded = serializers.IntegerField(source="bytes_stored", help_text="Where to go on.")
    bytes_total = serializers.IntegerField(source="file_size")
    state = serializers.CharField()
    failure = serializers.CharField(required=False, help_text="Why the file could not be completed.")
    uploaded_file = serializers.DictField(required=False, help_text="The file of a completed session.")

    def get_location(self, session: UploadSession) -> str:
        return f"{location_url(self.context['request'])}?uid={session.id.hex}"

    def to_representation(self, session: UploadSession) -> dict[str, Any]:
        payload: dict[str, Any] = super().to_representation(session)
        if not session.failure:
            del payload["failure"]
        if session.state == State.COMPLETED:
            payload["uploaded_file"] = File(session, context=self.context).data
        return payload


class Progress(Session):
    """The ``<session>`` object after a chunk.

    For chunks in order, ``location`` has the offset of the next chunk, so that a chunk sent twice to it is noticed.
    Other responses omit the offset: a client that keeps the first location for all chunks must not be bound to one
    offset.
    """

    path = serializers.SerializerMethodField(help_text="The folder's id.")  # type: ignore[assignment]

    def get_path(self, session: UploadSession) -> list[Id]:
        return [session.folder]

    def get_location(self, session: UploadSession) -> str:
        offset = "" if session.mode == Mode.NUMBERED else f"&offset={session.bytes_stored}"
        return super().get_location(session) + offset


class FutureFile(serializers.Serializer[Any]):
    """The REST response to a chunk before the last: the future file, not the session."""

    id = serializers.SerializerMethodField(help_text="Of the file that is replaced, else 0.")
    folderId = serializers.JSONField(source="folder", help_text="An integer or text.")
    version = serializers.IntegerField(source="file_version")
    title = serializers.CharField(source="file_name")
    uploaded = serializers.SerializerMethodField()
    bytes_uploaded = serializers.IntegerField(source="bytes_stored")
    bytes_total = serializers.IntegerField(source="file_size")

    def get_id(self, session: UploadSession) -> Any:
        return int(session.file_id) if session.file_id.isdecimal() else session.file_id or 0

    def get_uploaded(self, _: UploadSession) -> bool:
        return False


class File(serializers.Serializer[Any]):
    """The published file of a completed session, with absolute URLs for this client."""

    id = serializers.JSONField(source="result.id", help_text="An integer or text.")
    folderId = serializers.JSONField(source="result.folder_id", help_text="An integer or text.")
    version = serializers.IntegerField(source="result.version")
    title = serializers.CharField(source="result.title")
    provider_key = serializers.SerializerMethodField()
    uploaded = serializers.SerializerMethodField()
    file = serializers.SerializerMethodField()

    def get_provider_key(self, _: UploadSession) -> str | None:
        return None

    def get_uploaded(self, _: UploadSession) -> bool:
        return True

    def get_file(self, session: UploadSession) -> dict[str, Any]:
        details = (session.result or {})["details"]
        return described(details, self.context["request"]) | {"crc32": session.crc}


class FileOfAPI(File):
    """The published file under ``/api/2.0``, where one field has another spelling."""

    provider_key = None  # type: ignore[assignment]
    providerKey = serializers.SerializerMethodField(method_name="get_provider_key")


class WholeFile(serializers.Serializer[Any]):
    """The file object that answers an upload in one request, with the portal's details."""

    id = serializers.JSONField(source="result.id", help_text="An integer or text.")
    folderId = serializers.JSONField(source="result.folder_id", help_text="An integer or text.")
    version = serializers.IntegerField(source="result.version")
    title = serializers.CharField(source="result.title")

    def to_representation(self, session: UploadSession) -> dict[str, Any]:
        return super().to_representation(session) | File(context=self.context).get_file(session)


class ErrorDetail(serializers.Serializer[Any]):
    """The API's ``error`` object. One client's schema demands ``stack`` and ``hresult``."""

    message = serializers.CharField()
    type = serializers.CharField(help_text="A stable code.")
    stack = serializers.CharField(allow_blank=True)
    hresult = serializers.IntegerField()
    details = serializers.DictField(help_text="The numbers of the message, for programs.")


class Error(serializers.Serializer[Any]):
    """An error in both dialects: ``success``/``message`` and the API's ``error`` object."""

    success = serializers.BooleanField()
    message = serializers.CharField()
    error = ErrorDetail()
    status = serializers.IntegerField()
    statusCode = serializers.IntegerField()


def described(details: dict[str, Any], request: Any) -> dict[str, Any]:
    """Return the portal's description of a file, with absolute URLs for this client."""
    return {
        name: request.build_absolute_uri(value) if isinstance(value, str) and value.startswith("/") else value
        for name, value in details.items()
    }
