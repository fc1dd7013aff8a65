"""The OpenAPI description of the endpoints, where drf-spectacular is installed (extra ``openapi``).

Every status that a route can give is declared here; the tests hold the routes to it.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    inline_serializer,
)
from rest_framework import serializers

from uploads.protocols.onlyoffice.views import CreateViewSet, FileViewSet, LocationViewSet, LoginViewSet, SessionViewSet

TEXTS = {
    400: "The request is malformed, or against the rules for chunks.",
    401: "Authentication is required.",
    403: "The user may not do this.",
    404: "There is no such folder, file or session for this user.",
    405: "The method is not allowed.",
    409: "The session is not in a state for this; `error.details` says what is expected.",
    410: "The session has expired or was aborted.",
    411: "The web server needs a Content-Length.",
    413: "The chunk or file is too large.",
    423: "Another request is writing to the session; try again after `Retry-After` seconds.",
    429: "Too many requests; try again after `Retry-After` seconds.",
    503: "The storage is not available; try again after `Retry-After` seconds.",
}
CREATING = (400, 401, 403, 404, 405, 413, 429, 503)
READING = (400, 401, 404, 405, 429)
ENDING = (400, 401, 404, 405, 409, 410, 423, 429)
RECEIVING = (400, 401, 404, 405, 409, 410, 411, 413, 423, 429, 503)


class ErrorDetail(serializers.Serializer[Any]):
    message = serializers.CharField()
    type = serializers.CharField(help_text="A stable code.")
    stack = serializers.CharField(allow_blank=True)
    hresult = serializers.IntegerField()
    details = serializers.DictField(help_text="The numbers of the message, for programs.")


class Error(serializers.Serializer[Any]):
    success = serializers.BooleanField()
    message = serializers.CharField()
    error = ErrorDetail()
    status = serializers.IntegerField()
    statusCode = serializers.IntegerField()


class Session(serializers.Serializer[Any]):
    id = serializers.CharField(help_text="32 hexadecimal digits.")
    path = serializers.ListField(help_text="Folder ids from the root, integers or strings.")
    created = serializers.DateTimeField()
    expired = serializers.DateTimeField()
    location = serializers.CharField()
    bytes_uploaded = serializers.IntegerField()
    bytes_total = serializers.IntegerField()
    state = serializers.CharField()


class SessionInData(serializers.Serializer[Any]):
    success = serializers.BooleanField()
    data: Any = Session()  # any, because serializers have an attribute of that name


class SessionBody(serializers.Serializer[Any]):
    fileName = serializers.CharField()
    fileSize = serializers.IntegerField(min_value=0, default=0)
    relativePath = serializers.CharField(required=False, allow_blank=True, allow_null=True)
    createOn = serializers.CharField(required=False, help_text="ISO 8601, or 2008-04-10T06-30-00.000Z.")
    encrypted = serializers.BooleanField(required=False)
    createNewIfExist = serializers.BooleanField(required=False)


class CheckBody(serializers.Serializer[Any]):
    filesTitle = serializers.ListField(child=serializers.CharField())


def enveloped(name: str, response: serializers.BaseSerializer[Any] | serializers.Field[Any, Any, Any, Any]) -> Any:
    fields = {
        "response": response,
        "count": serializers.IntegerField(),
        "links": serializers.ListField(),
        "status": serializers.IntegerField(),
        "statusCode": serializers.IntegerField(),
    }
    return inline_serializer(name, fields)


def located(name: str, data: Any) -> Any:
    fields = {"success": serializers.BooleanField(), "data": data, "message": serializers.CharField(allow_blank=True)}
    return inline_serializer(name, fields)


def answers(errors: tuple[int, ...], **success: Any) -> dict[int, Any]:
    """Return the responses of a route: ``s200=…`` and the errors."""
    good = {int(name[1:]): OpenApiResponse(body) for name, body in success.items()}
    return good | {status: OpenApiResponse(Error, description=TEXTS[status]) for status in errors}


def query(name: str, kind: Any = OpenApiTypes.STR, text: str = "", *, required: bool = False) -> OpenApiParameter:
    return OpenApiParameter(name, kind, description=text, required=required)


def describe(viewset: type, **actions: Any) -> None:
    """Attach a description to each action; the view sets themselves know nothing of OpenAPI."""
    for name, description in actions.items():
        setattr(viewset, name, description(getattr(viewset, name)))


class _Scheme(OpenApiAuthenticationExtension):
    definition: dict[str, str]

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return self.definition


class BearerScheme(_Scheme):
    target_class = "uploads.protocols.onlyoffice.authentication.BearerAuthentication"
    name = "bearerAuth"
    definition = {"type": "http", "scheme": "bearer"}


class RawTokenScheme(_Scheme):
    target_class = "uploads.protocols.onlyoffice.authentication.RawTokenAuthentication"
    name = "rawTokenAuth"
    definition = {"type": "apiKey", "in": "header", "name": "Authorization"}


class CookieTokenScheme(_Scheme):
    target_class = "uploads.protocols.onlyoffice.authentication.CookieTokenAuthentication"
    name = "cookieTokenAuth"
    definition = {"type": "apiKey", "in": "cookie", "name": "asc_auth_key"}


class SameOriginSessionScheme(_Scheme):
    target_class = "uploads.protocols.onlyoffice.authentication.SameOriginSessionAuthentication"
    name = "sessionAuth"
    definition = {"type": "apiKey", "in": "cookie", "name": "sessionid"}


def fields(body: type[serializers.Serializer[Any]]) -> dict[str, Any]:
    """Return the ways in which a body of fields may come."""
    return dict.fromkeys(("application/json", "application/x-www-form-urlencoded", "multipart/form-data"), body)


CHUNK = {
    "multipart/form-data": {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}},
        "required": ["file"],
    },
    "application/octet-stream": {"type": "string", "format": "binary"},
}
FILE = serializers.DictField(help_text="id, folderId, version, title, providerKey, uploaded, file.")
OFFSET = query("offset", OpenApiTypes.INT64, "Where in the file the chunk starts.")
SESSION_ID = OpenApiParameter("session_id", OpenApiTypes.STR, OpenApiParameter.PATH)
NUMBER = query("chunkNumber", OpenApiTypes.INT, "From 1; left out, the next one.")

describe(
    CreateViewSet,
    create_session=extend_schema(
        operation_id="create_session",
        request=fields(SessionBody),
        responses=answers(
            CREATING,
            s200=enveloped("CreatedSession", SessionInData()),
        ),
    ),
    create_plain=extend_schema(
        operation_id="create_upload_session",
        request=fields(SessionBody),
        responses=answers(CREATING, s200=enveloped("EnvelopedSession", Session())),
    ),
    edit_session=extend_schema(
        operation_id="create_edit_session",
        request=None,
        parameters=[query("fileSize", OpenApiTypes.INT64, "Bytes; may be in the body instead.")],
        responses=answers(
            CREATING,
            s200=enveloped("EditSession", SessionInData()),
        ),
    ),
    check=extend_schema(
        operation_id="check_upload",
        request={"application/json": CheckBody},
        responses=answers((400, 401, 403, 404, 405, 429), s200=enveloped("ExistingTitles", serializers.ListField())),
    ),
    advertise=extend_schema(
        operation_id="get_files_settings",
        auth=[],
        responses=answers((401, 405, 429), s200=enveloped("Settings", serializers.DictField())),
    ),
)

describe(
    SessionViewSet,
    retrieve=extend_schema(
        operation_id="get_upload_session",
        parameters=[SESSION_ID],
        responses=answers(READING, s200=enveloped("SessionState", Session())),
    ),
    receive=extend_schema(
        operation_id="upload_chunk",
        request=CHUNK,
        parameters=[SESSION_ID, OFFSET],
        responses=answers(
            RECEIVING,
            s200=enveloped("ChunkStored", FILE),
            s201=enveloped("ChunkCompleted", FILE),
            s202=enveloped("ChunkCompleting", FILE),
        ),
    ),
    receive_numbered=extend_schema(
        operation_id="upload_numbered_chunk",
        request=CHUNK,
        parameters=[SESSION_ID, NUMBER],
        responses=answers(RECEIVING, s200=enveloped("NumberedChunkStored", Session())),
    ),
    finalize=extend_schema(
        operation_id="finalize_upload_session",
        parameters=[SESSION_ID],
        request=None,
        responses=answers((*ENDING, 503), s201=enveloped("FinalizedFile", FILE), s202=enveloped("Finalizing", FILE)),
    ),
    destroy=extend_schema(
        operation_id="abort_upload_session",
        parameters=[SESSION_ID],
        responses=answers(
            ENDING,
            s200=inline_serializer(
                "Aborted",
                {
                    "count": serializers.IntegerField(),
                    "links": serializers.ListField(),
                    "status": serializers.IntegerField(),
                    "statusCode": serializers.IntegerField(),
                },
            ),
        ),
    ),
)

describe(
    LoginViewSet,
    check=extend_schema(
        operation_id="check_authentication",
        responses=answers((401, 405, 429), s200=enveloped("Login", serializers.BooleanField())),
    ),
)

NAME = query("title", text="The file's name; left out, the one in the form or in Content-Disposition.")
NEW = query("createNewIfExist", OpenApiTypes.BOOL, "Keep an existing file of that name.")
WHOLE = (*CREATING, 409, 411)


def whole_file(name: str, body: Any, completing: str) -> dict[int, Any]:
    """Return the responses of a route that stores a file in one request."""
    return answers(WHOLE, s200=enveloped(name, body), s202=enveloped(completing, Session()))


describe(
    FileViewSet,
    retrieve=extend_schema(
        operation_id="get_file",
        responses=answers((400, 401, 403, 404, 405, 429), s200=enveloped("KnownFile", serializers.DictField())),
    ),
    upload=extend_schema(
        operation_id="upload_file",
        request=CHUNK,
        parameters=[NAME, NEW],
        responses=whole_file("UploadedFile", serializers.JSONField(), "FileCompleting"),
    ),
    insert=extend_schema(
        operation_id="insert_file",
        request=CHUNK,
        parameters=[NAME, NEW],
        responses=whole_file("InsertedFile", serializers.DictField(), "InsertCompleting"),
    ),
    update=extend_schema(
        operation_id="update_file",
        request=CHUNK,
        responses=whole_file("UpdatedFile", serializers.DictField(), "UpdateCompleting"),
    ),
)

UID = query("uid", text="The session's id.")
FLAGS = [query(name, OpenApiTypes.BOOL) for name in ("upload", "finalize", "abort", "initiate")]

describe(
    LocationViewSet,
    retrieve=extend_schema(
        operation_id="get_location",
        parameters=[UID],
        responses=answers(READING, s200=located("LocationState", Session())),
    ),
    dispatch_post=extend_schema(
        operation_id="post_location",
        parameters=[UID, OFFSET, NUMBER, *FLAGS],
        request=CHUNK,
        responses=answers(
            (*RECEIVING, 403),
            s200=located("LocationStored", serializers.DictField(allow_null=True)),
            s201=located("LocationCompleted", FILE),
            s202=located("LocationCompleting", Session()),
        ),
    ),
)
