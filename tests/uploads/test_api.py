"""Test the endpoints of the ONLYOFFICE protocol from a client's view."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from portal.models import File, Folder
from tests.data import MIB, some_bytes
from tests.helpers import Uploader
from uploads._internal.stores.base import Store
from uploads.models import UploadSession

pytestmark = pytest.mark.django_db

MOMENT = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$")


def error_of(response: Any) -> tuple[int, str]:
    """Return the status and code of an error, after comparing both dialects of its body."""
    body = response.json()
    assert body["success"] is False
    assert body["message"] == body["error"]["message"] != ""
    assert body["error"]["stack"] == ""
    assert body["error"]["hresult"] == 0
    assert body["status"] == 1
    assert body["statusCode"] == response.status_code
    return response.status_code, body["error"]["type"]


def test_create_session_returns_location_and_state(file_store: Store, uploader: Uploader, root: Folder) -> None:
    response = uploader.api.post(uploader.url, {"FileName": "a.txt", "FileSize": 5}, format="json")
    body = response.json()
    session = UploadSession.objects.get()
    data = body["response"]["data"]
    assert body == {
        "response": {"success": True, "data": data},
        "count": 1,
        "links": [],
        "status": 0,
        "statusCode": 200,
        "success": True,
        "data": data,
    }
    assert MOMENT.match(data["created"])
    assert MOMENT.match(data["expired"])
    assert data | {"created": "", "expired": ""} == {
        "id": session.id.hex,
        "path": [root.pk],
        "created": "",
        "expired": "",
        "location": f"http://testserver/ChunkedUploader.ashx?uid={session.id.hex}",
        "bytes_uploaded": 0,
        "bytes_total": 5,
        "state": "open",
    }


@pytest.mark.parametrize("url", ["create_session", "create_session.json", "create_session/"])
@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({"fileName": "a.txt", "fileSize": 5, "createOn": "2008-04-10T06-30-00.000Z", "encrypted": False}, "json"),
        ({"FileName": "a.txt", "FileSize": "5", "CreateOn": "2008-04-10T06:30:00Z", "folderId": 1}, "json"),
        ({"FILENAME": "a.txt", "filesize": "5", "createon": "2008-04-10T06:30Z", "Encrypted": "false"}, "form"),
        ({"fileName": "a.txt", "fileSize": "5", "createOn": "2008-04-10T08:30:00+02:00", "relativePath": ""}, "multi"),
        ({"fileName": "a.txt", "fileSize": 5, "createOn": {"utcTime": "2008-04-10T06:30:00Z"}}, "json"),
    ],
)
def test_create_session_accepts_all_field_spellings(
    file_store: Store, uploader: Uploader, url: str, fields: dict[str, Any], form: str
) -> None:
    send = {
        "json": {"format": "json"},
        "multi": {"format": "multipart"},
        "form": {"content_type": "application/x-www-form-urlencoded"},
    }[form]
    data: Any = "&".join(f"{name}={value}" for name, value in fields.items()) if form == "form" else fields
    response = uploader.api.post(uploader.url.replace("create_session", url), data, **send)
    assert response.status_code == 200, response.content
    session = UploadSession.objects.get()
    assert (session.file_name, session.file_size) == ("a.txt", 5)
    assert session.file_created_at == datetime(2008, 4, 10, 6, 30, tzinfo=UTC)


def test_relative_path_creates_folders(file_store: Store, small_chunks: None, uploader: Uploader, root: Folder) -> None:
    first = uploader.create(1, RelativePath="2026/11/")
    second = uploader.create(1, RelativePath="/2026//12")
    year = Folder.objects.get(title="2026")
    november, december = Folder.objects.get(title="11"), Folder.objects.get(title="12")
    assert first["path"] == [root.pk, year.pk, november.pk]
    assert second["path"] == [root.pk, year.pk, december.pk]
    assert uploader.send(first, b"a").json()["data"]["folderId"] == november.pk


def test_location_of_a_completed_session_has_its_file(file_store: Store, uploader: Uploader) -> None:
    session = uploader.create(1)
    assert "uploaded_file" not in uploader.state(session)
    finished = uploader.send(session, b"a").json()["data"]
    assert uploader.state(session)["uploaded_file"] == finished


def test_create_on_sets_the_creation_time(file_store: Store, uploader: Uploader) -> None:
    uploader.send(uploader.create(1, CreateOn="2008-04-10T06-30-00.000Z"), b"a")
    assert File.objects.get().created == datetime(2008, 4, 10, 6, 30, tzinfo=UTC)


def test_encryption_is_refused_without_store_support(file_store: Store, uploader: Uploader) -> None:
    response = uploader.api.post(uploader.url, {"FileName": "a", "FileSize": 1, "Encrypted": True}, format="json")
    assert error_of(response) == (400, "encryption_unsupported")
    assert not UploadSession.objects.exists()


def test_refused_session_leaves_no_folders(file_store: Store, uploader: Uploader, root: Folder) -> None:
    fields = {"FileName": "a", "FileSize": 1, "Encrypted": True, "RelativePath": "new/folders"}
    uploader.api.post(uploader.url, fields, format="json")
    assert list(Folder.objects.all()) == [root]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "invalid_request"),
        ({"FileName": "", "FileSize": 1}, "invalid_request"),
        ({"FileName": "..", "FileSize": 1}, "invalid_name"),
        ({"FileName": "a", "FileSize": -1}, "invalid_request"),
        ({"FileName": "a", "FileSize": "many"}, "invalid_request"),
        ({"FileName": "a", "FileSize": 1.5}, "invalid_request"),
        ({"FileName": "a", "FileSize": 10**30}, "file_too_large"),
        ({"FileName": "a", "FileSize": 1, "CreateOn": "soon"}, "invalid_request"),
        ({"FileName": "a", "FileSize": 1, "RelativePath": "a/../b"}, "invalid_name"),
        ({"FileName": "a", "FileSize": 1, "Encrypted": "perhaps"}, "invalid_request"),
    ],
)
def test_invalid_fields_are_refused(file_store: Store, uploader: Uploader, fields: dict[str, Any], code: str) -> None:
    assert error_of(uploader.api.post(uploader.url, fields, format="json"))[1] == code
    assert not UploadSession.objects.exists()


@pytest.mark.parametrize("body", ["{", "[]", "nonsense", '{"a":' * 10_000])
def test_invalid_json_is_refused(file_store: Store, uploader: Uploader, body: str) -> None:
    response = uploader.api.post(uploader.url, body, content_type="application/json")
    assert error_of(response) == (400, "invalid_request")


@pytest.mark.parametrize("folder", ["0", "999999", "abc", "²", "9" * 40, "sbox-42"])
def test_unknown_folder_is_not_found(file_store: Store, uploader: Uploader, root: Folder, folder: str) -> None:
    url = f"/api/2.0/files/{folder}/upload/create_session"
    response = uploader.api.post(url, {"FileName": "a", "FileSize": 1}, format="json")
    assert error_of(response) == (404, "folder_not_found")


def test_folder_of_another_user_is_not_found(file_store: Store, api: APIClient, other_user: User) -> None:
    folder = Folder.objects.create(owner=other_user, title="private")
    response = api.post(f"/api/2.0/files/{folder.pk}/upload/create_session", {"FileName": "a"}, format="json")
    assert error_of(response) == (404, "folder_not_found")


def test_authentication_is_required(root: Folder) -> None:
    for url in (f"/api/2.0/files/{root.pk}/upload/create_session", f"/ChunkedUploader.ashx?uid={'0' * 32}"):
        assert error_of(APIClient().post(url)) == (401, "not_authenticated")


def test_last_chunk_returns_the_finished_file(store: Store, uploader: Uploader, root: Folder) -> None:
    data = some_bytes(10 * MIB + 100)
    session = uploader.create(len(data), name="report.PDF")
    response = uploader.send(session, data[: 10 * MIB])
    body = response.json()
    assert response.status_code == 200
    assert body["success"] is True
    assert body["message"] == ""
    assert "uploaded" not in body["data"]
    assert body["data"]["bytes_uploaded"] == 10 * MIB
    assert body["data"]["path"] == [root.pk]

    response = uploader.send_raw(session, data[10 * MIB :])
    body = response.json()
    file = File.objects.get()
    assert response.status_code == 201
    assert {
        name: body["data"][name] for name in ("id", "folderId", "version", "title", "provider_key", "uploaded")
    } == {
        "id": file.pk,
        "folderId": root.pk,
        "version": 1,
        "title": "report.PDF",
        "provider_key": None,
        "uploaded": True,
    }
    assert body["data"]["file"]["fileExst"] == ".pdf"
    assert body["data"]["file"]["pureContentLength"] == len(data)
    assert uploader.download(response) == data


def test_location_reports_the_session_state(file_store: Store, small_chunks: None, uploader: Uploader) -> None:
    session = uploader.create(4)
    uploader.send(session, b"ab")
    assert uploader.state(session)["bytes_uploaded"] == 2
    assert uploader.api.head(session["location"]).status_code == 200


@pytest.mark.parametrize(
    "path", ["/ChunkedUploader.ashx", "/chunkeduploader.ASHX", "/Products/Files/ChunkedUploader.ashx"]
)
def test_location_ignores_case_and_parent_path(
    file_store: Store, small_chunks: None, uploader: Uploader, path: str
) -> None:
    session = uploader.create(1)
    assert uploader.send({"location": f"{path}?uid={session['id'].upper()}"}, b"a").status_code == 201


@pytest.mark.parametrize("uid", ["0" * 32, "nonsense", "%00", "1" * 500])
def test_unknown_session_is_not_found(uploader: Uploader, uid: str) -> None:
    assert error_of(uploader.api.get(f"/ChunkedUploader.ashx?uid={uid}")) == (404, "session_not_found")


def test_location_without_uid_is_refused(uploader: Uploader) -> None:
    assert error_of(uploader.api.get("/ChunkedUploader.ashx")) == (400, "invalid_request")


@pytest.mark.parametrize(("setting", "status"), [("owner", 404), ("capability", 201)])
def test_location_auth_controls_access_for_other_clients(
    file_store: Store,
    small_chunks: None,
    uploader: Uploader,
    other_user: User,
    uploads_settings: Callable[..., None],
    setting: str,
    status: int,
) -> None:
    uploads_settings(LOCATION_AUTH=setting)
    session = uploader.create(1)
    stranger = APIClient()
    if setting == "owner":
        stranger.force_authenticate(other_user)
    assert Uploader(stranger, 1).send(session, b"a").status_code == status


def test_chunk_upload_needs_no_csrf_token(
    file_store: Store, small_chunks: None, uploader: Uploader, user: User
) -> None:
    """A CSRF check would parse the form, so Django would spool the chunk."""
    session = uploader.create(2)
    browser = APIClient(enforce_csrf_checks=True)
    browser.force_login(user)
    assert Uploader(browser, 1).send(session, b"ab").status_code == 201


def test_cookie_authentication_requires_csrf_token_for_creation(root: Folder, user: User) -> None:
    browser = APIClient(enforce_csrf_checks=True)
    browser.force_login(user)
    url = f"/api/2.0/files/{root.pk}/upload/create_session"
    assert error_of(browser.post(url, {"FileName": "a"}, format="json"))[0] == 403


@pytest.mark.parametrize("kind", ["json", "multipart"])
def test_csrf_token_is_accepted_in_header(file_store: Store, root: Folder, user: User, kind: str) -> None:
    browser = APIClient(enforce_csrf_checks=True)
    browser.force_login(user)
    browser.cookies["csrftoken"] = token = "t" * 32
    url = f"/api/2.0/files/{root.pk}/upload/create_session"
    answer = browser.post(url, {"FileName": "a", "FileSize": 1}, format=kind, headers={"X-CSRFToken": token})
    assert answer.status_code == 200, answer.content


def test_forged_request_opens_no_session(root: Folder, user: User) -> None:
    browser = APIClient(enforce_csrf_checks=True)
    browser.force_login(user)
    query = f"uid=x&initiate=true&title=a&fileSize=1&folderid={root.pk}"
    assert error_of(browser.post(f"/ChunkedUploader.ashx?{query}"))[0] == 403


def test_capability_location_ignores_invalid_token(
    file_store: Store, small_chunks: None, uploader: Uploader, uploads_settings: Callable[..., None]
) -> None:
    session = uploader.create(1)
    stale = APIClient(headers={"Authorization": "Token stale"})
    assert error_of(stale.get(session["location"])) == (401, "not_authenticated")
    uploads_settings(LOCATION_AUTH="capability")
    assert stale.get(session["location"]).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"Cookie": 'asc_auth_key="\\000"'}, {"Authorization": "Basic AAAA"}, {"Authorization": "Token \x00"}],
    ids=["cookie", "basic", "token"],
)
def test_credentials_with_nul_are_refused(root: Folder, headers: dict[str, str]) -> None:
    answer = APIClient(headers=headers).post(f"/api/2.0/files/{root.pk}/upload/create_session")
    assert error_of(answer)[0] in (400, 401, 403)


def test_expired_session_is_gone(file_store: Store, uploader: Uploader) -> None:
    session = uploader.create(1)
    UploadSession.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert error_of(uploader.send(session, b"a")) == (410, "session_expired")


@pytest.mark.parametrize(
    ("size", "status", "code"),
    [
        (512, 400, "chunk_too_small"),
        (10 * MIB + 1, 400, "chunk_not_multiple"),
        (20 * MIB + 1, 400, "chunk_beyond_file"),
    ],
)
def test_documented_chunk_rules_are_enforced(
    file_store: Store, uploader: Uploader, size: int, status: int, code: str
) -> None:
    session = uploader.create(20 * MIB)
    assert error_of(uploader.send(session, bytes(size))) == (status, code)
    assert uploader.state(session)["bytes_uploaded"] == 0


BOUNDARY = "multipart/form-data; boundary=xx"


def form(content: bytes, *, name: str = "file", filename: str | None = "blob", end: bytes = b"--xx--\r\n") -> bytes:
    part = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    return b"--xx\r\nContent-Disposition: " + part.encode() + b"\r\n\r\n" + content + b"\r\n" + end


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(form(b"ab"), id="plain"),
        pytest.param(form(b"ab", end=b"--xx--"), id="no-last-line-break"),
        pytest.param(form(b"ab", name="files[]", filename="chunk1"), id="another-name"),
        pytest.param(form(b"ab", name="File", filename=""), id="empty-file-name"),
        pytest.param(form(b"zz", filename=None, end=b"") + form(b"ab"), id="a-field-before"),
        pytest.param(form(b"ab", end=b"") + form(b"zz"), id="a-second-file"),
        pytest.param(b"preamble\r\n" + form(b"ab") + b"epilogue", id="with-preamble"),
    ],
)
def test_first_file_of_form_is_the_chunk(
    file_store: Store, small_chunks: None, uploader: Uploader, body: bytes
) -> None:
    response = uploader.send_raw(uploader.create(2), body, content_type=BOUNDARY)
    assert response.status_code == 201, response.content
    assert uploader.download(response) == b"ab"


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        pytest.param(form(b"ab"), "multipart/form-data", "no_boundary", id="no-boundary"),
        pytest.param(form(b"ab"), "multipart/form-data; boundary=yy", "malformed_form", id="wrong-boundary"),
        pytest.param(form(b"ab", end=b""), BOUNDARY, "malformed_form", id="cut"),
        pytest.param(form(b"ab", filename=None), BOUNDARY, "no_file_part", id="no-file"),
        pytest.param(b"", BOUNDARY, "malformed_form", id="nothing"),
        pytest.param(form(b"ab", end=b"") * 200 + form(b""), BOUNDARY, "malformed_form", id="too-many-parts"),
        pytest.param(form(b"abc"), BOUNDARY, "chunk_beyond_file", id="too-long"),
        pytest.param(b"", "application/octet-stream", "empty_chunk", id="empty"),
    ],
)
def test_invalid_chunks_are_refused(
    file_store: Store, small_chunks: None, uploader: Uploader, body: bytes, content_type: str, code: str
) -> None:
    session = uploader.create(2)
    assert error_of(uploader.send_raw(session, body, content_type=content_type)) == (400, code)
    assert uploader.state(session)["bytes_uploaded"] == 0


def test_truncated_body_is_refused(file_store: Store, small_chunks: None, uploader: Uploader) -> None:
    session = uploader.create(10)
    response = uploader.send_raw(session, b"abc", CONTENT_LENGTH="10")
    assert error_of(response) == (400, "incomplete_body")


def test_chunked_encoding_requires_terminated_input(file_store: Store, small_chunks: None, uploader: Uploader) -> None:
    session = uploader.create(3)
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
    assert error_of(uploader.send_raw(session, b"abc", **chunked)) == (411, "length_required")
    assert uploader.state(session)["bytes_uploaded"] == 0


@pytest.mark.parametrize("sessions", [0, 20])
def test_create_session_queries_are_constant(
    file_store: Store, uploader: Uploader, django_assert_num_queries: Any, sessions: int
) -> None:
    for _ in range(sessions + 1):
        uploader.create(1)
    with django_assert_num_queries(9):  # Folder, naming key, limits twice; under a lock, the session.
        uploader.create(1)
