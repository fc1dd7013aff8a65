"""The OpenAPI description, and fuzz tests of every route against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import spectacular_settings
from hypothesis import given, settings
from rest_framework.authtoken.models import Token

from portal.models import Folder
from portal.wsgi import application
from uploads.models import UploadSession

CHECKS = (
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
)


@pytest.fixture
def portal_schema(db: None) -> Iterator[Any]:
    # Like Django's test client, prevent requests from closing the connection of the test's transaction.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield schemathesis.openapi.from_wsgi("/api/schema", application)
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def test_undescribed_protocols_do_not_break_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectacular_settings, "PREPROCESSING_HOOKS", [])
    generator: Any = SchemaGenerator
    paths = generator().get_schema(request=None, public=True)["paths"]
    assert any(path.startswith("/api/2.0/") for path in paths)
    assert not any(path.startswith(("/tus", "/uppy")) for path in paths)


@pytest.fixture
def token(user: User, root: Folder) -> str:
    return str(Token.objects.create(user=user).key)


OPERATIONS = [
    "abort_upload_session",
    "authenticate",
    "check_authentication",
    "check_upload",
    "create_edit_session",
    "create_session",
    "create_upload_session",
    "finalize_upload_session",
    "get_file",
    "get_files_settings",
    "get_location",
    "get_upload_session",
    "insert_file",
    "post_location",
    "put_location",
    "save_edited_file",
    "update_file",
    "upload_chunk",
    "upload_file",
    "upload_numbered_chunk",
]


def test_every_route_is_described(portal_schema: Any) -> None:
    described = [result.ok().definition.raw["operationId"] for result in portal_schema.get_all_operations()]
    assert sorted(described) == OPERATIONS


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.usefixtures("file_store", "small_chunks")
def test_routes_answer_only_declared_statuses(
    portal_schema: Any, operation: str, token: str, root: Folder, open_session: Callable[..., UploadSession]
) -> None:
    @settings(derandomize=True, database=None)
    @given(case=portal_schema.find_operation_by_id(operation).as_strategy())
    def attack(case: Any) -> None:
        session = UploadSession.objects.open().first() or open_session(10, name="target.bin")
        known = {"folder_id": root.pk, "session_id": session.id.hex, "uid": session.id.hex}
        if operation.endswith("location"):
            case.query = {"uid": "", **(case.query or {})}
        for place in (case.path_parameters, case.query):
            for name in set(place or {}) & set(known):
                # Half of the cases reach a real folder or session.
                if not place[name] or len(str(place[name])) % 2:
                    place[name] = known[name]
        case.call_and_validate(headers={"Authorization": f"Token {token}"}, checks=CHECKS)

    attack()
