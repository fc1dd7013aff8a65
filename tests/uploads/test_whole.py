"""Whole files in one request, and auxiliary requests around an upload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db import OperationalError
from rest_framework.test import APIClient

from portal.models import File, Folder
from tests.helpers import Uploader
from uploads._internal.stores.base import Store
from uploads.models import State, UploadPart, UploadSession

Change = Callable[..., None]
pytestmark = pytest.mark.usefixtures("file_store")


def error_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["type"]


@pytest.fixture
def url(root: Folder) -> str:
    return f"/api/2.0/files/{root.pk}/upload"


def content_of(api: APIClient, file: dict[str, Any]) -> bytes:
    return b"".join(api.get(file["viewUrl"]).streaming_content)


@pytest.mark.parametrize("data", [b"", b"a", b"abc" * 100_000], ids=["empty", "one-byte", "more"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "{folder}/upload"),
        ("post", "@my/upload"),
        ("post", "{folder}/upload.json"),
        ("post", "{folder}/insert"),
    ],
)
def test_one_request_uploads_a_file(
    store: Store, api: APIClient, root: Folder, method: str, path: str, data: bytes
) -> None:
    address = f"/api/2.0/files/{path.format(folder=root.pk)}"
    answer = getattr(api, method)(address, {"file": ContentFile(data, "größe.txt")}, format="multipart")
    assert answer.status_code == 200
    file = answer.json()["response"]
    assert (file["title"], file["pureContentLength"], file["fileExst"]) == ("größe.txt", len(data), ".txt")
    assert content_of(api, file) == data
    session = UploadSession.objects.get()
    assert (session.state, session.file_size) == (State.COMPLETED, len(data))


def test_raw_body_needs_header_or_query_name(api: APIClient, url: str) -> None:
    raw: dict[str, Any] = {"content_type": "application/octet-stream"}
    named = api.generic("POST", url, b"abc", HTTP_CONTENT_DISPOSITION='attachment; filename="a.bin"', **raw)
    titled = api.generic("POST", f"{url}?title=b.bin", b"abc", **raw)
    assert [answer.json()["response"]["title"] for answer in (named, titled)] == ["a.bin", "b.bin"]
    assert error_of(api.generic("POST", url, b"abc", **raw)) == (400, "invalid_name")


def test_form_options_may_precede_the_file(api: APIClient, url: str) -> None:
    for title in ("a.txt", "a (1).txt"):
        fields = {"createNewIfExist": "true", "file": ContentFile(b"abc", "a.txt")}
        assert api.post(url, fields, format="multipart").json()["response"]["title"] == title


FORM = "multipart/form-data; boundary=x"


def part(head: str, body: str) -> bytes:
    return f"--x\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n".encode()


def test_typed_form_field_is_no_file(api: APIClient, url: str) -> None:
    typed = (
        b'--x\r\nContent-Disposition: form-data; name="createNewIfExist"\r\nContent-Type: text/plain\r\n\r\ntrue\r\n'
    )
    body = typed + part('name="f"; filename="a.txt"', "abc") + b"--x--\r\n"
    file = api.generic("POST", url, body, content_type=FORM).json()["response"]
    assert (file["title"], content_of(api, file)) == ("a.txt", b"abc")


def test_second_file_in_form_is_refused(api: APIClient, url: str) -> None:
    body = part('name="f"; filename="a.txt"', "abc") + part('name="g"; filename="b.txt"', "def") + b"--x--\r\n"
    assert error_of(api.generic("POST", url, body, content_type=FORM)) == (400, "invalid_request")
    assert not File.objects.exists()


def test_partial_content_range_is_refused(api: APIClient, url: str) -> None:
    first = api.post(url, {"file": ContentFile(b"whole", "a.txt")}, format="multipart").json()["response"]
    address = f"/api/2.0/files/{first['id']}/update"
    raw: dict[str, Any] = {"content_type": "application/octet-stream"}
    answer = api.generic("PUT", address, b"ab", HTTP_CONTENT_RANGE="bytes 0-1/1000", **raw)
    assert error_of(answer) == (400, "content_range_invalid")
    assert content_of(api, first) == b"whole"
    assert api.generic("PUT", address, b"ab", HTTP_CONTENT_RANGE="bytes 0-1/2", **raw).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        'attachment; filename="größe.txt"'.encode().decode("latin-1"),
        "attachment; filename=\"x.txt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt",
    ],
)
def test_both_filename_encodings_are_decoded(api: APIClient, url: str, header: str) -> None:
    answer = api.generic("POST", url, b"abc", content_type="a/b", HTTP_CONTENT_DISPOSITION=header)
    assert answer.json()["response"]["title"] == "größe.txt"


def test_database_error_leaves_no_open_session(api: APIClient, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        msg = "the disk is full"
        raise OperationalError(msg)

    with monkeypatch.context() as patched:
        patched.setattr(UploadPart.objects, "bulk_create", fails)
        answer = api.post(url, {"file": ContentFile(b"abc", "a.txt")}, format="multipart")
    assert error_of(answer) == (503, "database_unavailable")
    assert not UploadSession.objects.unfinished().exists()


def test_quota_requires_a_content_length(api: APIClient, url: str, settings: Any) -> None:
    settings.QUOTA = 1000
    headers: dict[str, Any] = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    answer = api.generic("POST", f"{url}?title=a", b"abc", content_type="a/b", **headers)
    assert error_of(answer) == (411, "length_required")


def test_clients_of_newer_servers_receive_list(api: APIClient, url: str) -> None:
    fields = {"File": ContentFile(b"abc", "a.txt")}
    answer = api.post(url, fields, format="multipart", HTTP_USER_AGENT="OpenAPI-Generator/3.7.0/python")
    assert [file["title"] for file in answer.json()["response"]] == ["a.txt"]


def test_update_replaces_the_content(api: APIClient, url: str) -> None:
    first = api.post(url, {"file": ContentFile(b"old", "a.txt")}, format="multipart").json()["response"]
    address = f"/api/2.0/files/{first['id']}/update"
    second = api.put(address, {"file": ContentFile(b"newer", "whatever")}, format="multipart").json()["response"]
    assert (second["id"], second["title"]) == (first["id"], "a.txt")
    assert content_of(api, second) == b"newer"
    assert File.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"MAX_FILE_SIZE": 5}, (413, "file_too_large")),
        ({"ALLOWED_EXTENSIONS": {".png"}}, (403, "extension_not_allowed")),
    ],
)
def test_exceeded_limit_leaves_no_session(
    api: APIClient, url: str, uploads_settings: Change, change: dict[str, Any], expected: tuple[int, str]
) -> None:
    uploads_settings(**change)
    assert error_of(api.post(url, {"file": ContentFile(b"123456", "a.txt")}, format="multipart")) == expected
    assert not UploadSession.objects.unfinished().exists()
    assert api.post(url, {"file": ContentFile(b"12345", "a.png")}, format="multipart").status_code == 200


def test_quota_applies_to_file_not_form(api: APIClient, url: str, settings: Any) -> None:
    settings.QUOTA = 3
    assert api.post(url, {"file": ContentFile(b"abc", "a.txt")}, format="multipart").status_code == 200
    assert error_of(api.post(url, {"file": ContentFile(b"d", "b.txt")}, format="multipart")) == (413, "file_too_large")
    big = ContentFile(bytes(2 * 2**20), "c.txt")
    assert error_of(api.post(url, {"file": big}, format="multipart")) == (403, "quota_exceeded")


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (
            b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--\r\n",
            "multipart/form-data; boundary=x",
            "no_file_part",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name=a; filename="a.txt"\r\n\r\nabc',
            "multipart/form-data; boundary=x",
            "malformed_form",
        ),
    ],
)
def test_unusable_form_leaves_no_session(api: APIClient, url: str, body: bytes, kind: str, code: str) -> None:
    assert error_of(api.generic("POST", url, body, content_type=kind)) == (400, code)
    assert not UploadSession.objects.unfinished().exists()


def test_only_the_owner_can_query_file(uploader: Uploader, other_user: User) -> None:
    file = uploader.send(uploader.create(3, name="a.txt"), b"abc").json()["data"]["file"]
    address = f"/api/2.0/files/file/{file['id']}"
    known = uploader.api.get(address).json()["response"]
    assert known == {name: value for name, value in file.items() if name != "crc32"}
    uploader.api.force_authenticate(other_user)
    assert error_of(uploader.api.get(address)) == (404, "file_not_found")


def test_authentication_endpoint_reports_login(api: APIClient) -> None:
    address = "/api/2.0/authentication"
    assert api.get(address).json()["response"] is True
    assert APIClient().get(address).json()["response"] is False
    assert APIClient().get(address, HTTP_AUTHORIZATION="Bearer wrong").status_code == 401


def test_unknown_api_paths_answer_json(client: Any, db: None) -> None:
    assert error_of(client.get("/api/2.0/nothing")) == (404, "not_found")
    assert client.get("/nothing")["Content-Type"].startswith("text/html")


def test_edit_session_reports_the_file_version(uploader: Uploader, uploads_settings: Change) -> None:
    uploads_settings(MIN_CHUNK_SIZE=1, CHUNK_MULTIPLE=1)
    for data in (b"a", b"b"):
        done = uploader.send(uploader.create(1, name="a.txt"), data).json()["data"]
    assert done["version"] == 2
    created = uploader.api.post(f"/api/2.0/files/file/{done['id']}/edit_session?fileSize=4").json()["data"]
    address = f"/api/2.0/files/1/session/{created['id']}"
    answer = uploader.api.post(address, {"file": ContentFile(b"ab", "x")}, format="multipart").json()["response"]
    assert (answer["uploaded"], answer["version"], answer["id"]) == (False, 2, done["id"])
