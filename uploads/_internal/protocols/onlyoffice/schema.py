"""The endpoints' OpenAPI description, used if drf-spectacular is installed (extra ``openapi``).

Every possible status of a route is declared here; the tests enforce that.
"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from uploads._internal.http.openapi import (
    OpenApiParameter,
    OpenApiResponse,
    OpenApiTypes,
    extend_schema,
    inline_serializer,
)
from uploads._internal.protocols.onlyoffice import answers

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


class SessionInData(serializers.Serializer[Any]):
    success = serializers.BooleanField()
    data: Any = answers.Session()  # Any, because serializers have an attribute of that name


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


def responses(errors: tuple[int, ...], **success: Any) -> dict[int, Any]:
    """Return the responses of a route: successes as ``s200=…``, and errors."""
    good = {int(name[1:]): OpenApiResponse(body) for name, body in success.items()}
    return good | {status: OpenApiResponse(answers.Error, description=TEXTS[status]) for status in errors}


def query(name: str, kind: Any = OpenApiTypes.STR, text: str = "", *, required: bool = False) -> Any:
    return OpenApiParameter(name, kind, description=text, required=required)


def fields(body: type[serializers.Serializer[Any]]) -> dict[str, Any]:
    """Return ``body`` for each content type in which fields may come."""
    return dict.fromkeys(("application/json", "application/x-www-form-urlencoded", "multipart/form-data"), body)


CHUNK = {
    "multipart/form-data": {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}},
        "required": ["file"],
    },
    "application/octet-stream": {"type": "string", "format": "binary"},
}
OFFSET = query("offset", OpenApiTypes.INT64, "Where in the file the chunk starts.")
FILE_ID = OpenApiParameter("file_id", OpenApiTypes.STR, OpenApiParameter.PATH)
SESSION_ID = OpenApiParameter("session_id", OpenApiTypes.STR, OpenApiParameter.PATH)
NUMBER = query("chunkNumber", OpenApiTypes.INT, "From 1; left out, the next one.")

CREATE_SESSION = extend_schema(
    operation_id="create_session",
    request=fields(SessionBody),
    responses=responses(
        CREATING,
        s200=enveloped("CreatedSession", SessionInData()),
    ),
)
CREATE_PLAIN = extend_schema(
    operation_id="create_upload_session",
    request=fields(SessionBody),
    responses=responses(CREATING, s200=enveloped("EnvelopedSession", answers.Session())),
)
EDIT_SESSION = extend_schema(
    operation_id="create_edit_session",
    request=None,
    parameters=[query("fileSize", OpenApiTypes.INT64, "Bytes; may be in the body instead.")],
    responses=responses(
        CREATING,
        s200=enveloped("EditSession", SessionInData()),
    ),
)
CHECK = extend_schema(
    operation_id="check_upload",
    request={"application/json": CheckBody},
    responses=responses((400, 401, 403, 404, 405, 429), s200=enveloped("ExistingTitles", serializers.ListField())),
)
ADVERTISE = extend_schema(
    operation_id="get_files_settings",
    auth=[],
    responses=responses((401, 405, 429), s200=enveloped("Settings", serializers.DictField())),
)

SESSION_RETRIEVE = extend_schema(
    operation_id="get_upload_session",
    parameters=[SESSION_ID],
    responses=responses(READING, s200=enveloped("SessionState", answers.Session())),
)
SESSION_RECEIVE = extend_schema(
    operation_id="upload_chunk",
    request=CHUNK,
    parameters=[SESSION_ID, OFFSET],
    responses=responses(
        RECEIVING,
        s200=enveloped("ChunkStored", answers.FutureFile()),
        s201=enveloped("ChunkCompleted", answers.FileOfAPI()),
        s202=enveloped("ChunkCompleting", answers.FutureFile()),
    ),
)
SESSION_RECEIVE_NUMBERED = extend_schema(
    operation_id="upload_numbered_chunk",
    request=CHUNK,
    parameters=[SESSION_ID, NUMBER],
    responses=responses(RECEIVING, s200=enveloped("NumberedChunkStored", answers.Progress())),
)
SESSION_FINALIZE = extend_schema(
    operation_id="finalize_upload_session",
    parameters=[SESSION_ID],
    request=None,
    responses=responses(
        (*ENDING, 503),
        s201=enveloped("FinalizedFile", answers.FileOfAPI()),
        s202=enveloped("Finalizing", answers.FutureFile()),
    ),
)
SESSION_DESTROY = extend_schema(
    operation_id="abort_upload_session",
    parameters=[SESSION_ID],
    responses=responses(
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
)

LOGIN_CHECK = extend_schema(
    operation_id="check_authentication",
    responses=responses((401, 405, 429), s200=enveloped("Login", serializers.BooleanField())),
)

LOGIN = extend_schema(
    operation_id="authenticate",
    auth=[],
    request=inline_serializer("LoginBody", {"userName": serializers.CharField(), "password": serializers.CharField()}),
    responses=responses((400, 401, 405, 413, 429), s200=enveloped("Token", serializers.DictField())),
)

NAME = query("title", text="The file's name; left out, the one in the form or in Content-Disposition.")
NEW = query("createNewIfExist", OpenApiTypes.BOOL, "Keep an existing file of that name.")
WHOLE = (*CREATING, 409, 411)


def whole_file(name: str, body: Any, completing: str) -> dict[int, Any]:
    """Return the responses of a route that stores a file in one request."""
    return responses(WHOLE, s200=enveloped(name, body), s202=enveloped(completing, answers.Session()))


FILE_RETRIEVE = extend_schema(
    operation_id="get_file",
    parameters=[FILE_ID],
    responses=responses((400, 401, 403, 404, 405, 429), s200=enveloped("KnownFile", serializers.DictField())),
)
FILE_UPLOAD = extend_schema(
    operation_id="upload_file",
    request=CHUNK,
    parameters=[NAME, NEW],
    responses=whole_file("UploadedFile", serializers.JSONField(), "FileCompleting"),
)
FILE_INSERT = extend_schema(
    operation_id="insert_file",
    request=CHUNK,
    parameters=[NAME, NEW],
    responses=whole_file("InsertedFile", answers.WholeFile(), "InsertCompleting"),
)
FILE_UPDATE, FILE_SAVE = (
    extend_schema(
        operation_id=operation_id,
        request=CHUNK,
        responses=whole_file("UpdatedFile", answers.WholeFile(), "UpdateCompleting"),
    )
    for operation_id in ("update_file", "save_edited_file")
)

UID = query("uid", text="The session's id.")
FLAGS = [query(name, OpenApiTypes.BOOL) for name in ("upload", "finalize", "abort", "initiate")]

LOCATION_RETRIEVE = extend_schema(
    operation_id="get_location",
    parameters=[UID],
    responses=responses(READING, s200=located("LocationState", answers.Session())),
)
LOCATION_RECEIVE = extend_schema(
    operation_id="put_location",
    parameters=[UID, OFFSET],
    request=CHUNK,
    responses=responses(
        RECEIVING,
        s200=located("LocationChunkStored", answers.Progress()),
        s201=located("LocationChunkCompleted", answers.File()),
        s202=located("LocationChunkCompleting", answers.Progress()),
    ),
)
LOCATION_DISPATCH_POST = extend_schema(
    operation_id="post_location",
    parameters=[UID, OFFSET, NUMBER, *FLAGS],
    request=CHUNK,
    responses=responses(
        (*RECEIVING, 403),
        s200=located("LocationStored", serializers.DictField(allow_null=True)),
        s201=located("LocationCompleted", answers.File()),
        s202=located("LocationCompleting", answers.Progress()),
    ),
)
