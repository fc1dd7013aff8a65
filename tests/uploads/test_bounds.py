"""Test limits of bodies, fields, metadata and storages, and the log lines of refusals."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.test import Client
from rest_framework.test import APIClient
from storages.backends.s3 import S3Storage

from portal.models import File, Folder
from tests.data import MIB
from tests.helpers import Uploader, chunk_of
from tests.proxy import Proxy, with_code
from tests.uploads.test_tus import meta
from uploads._internal import sessions
from uploads._internal.checks import check_limits, check_settings
from uploads._internal.http.slots import REFUSED, RequestSlot
from uploads._internal.sessions import FileRequest
from uploads._internal.stores import get_store
from uploads._internal.stores.base import Store
from uploads._internal.stores.buffer import Buffer
from uploads._internal.stores.names import fragment_of
from uploads._internal.transfer.deadlines import Caller, CallTimeout, call_with_timeout
from uploads.forms import UploadField
from uploads.forms.checks import check_forms
from uploads.forms.tokens import Limits, ticket
from uploads.models import UploadSession

Change = Callable[..., None]
FILES = "django.core.files.storage.FileSystemStorage"
FORM = "multipart/form-data; boundary=x"
pytestmark = pytest.mark.django_db


def code_of(answer: Any) -> tuple[int, str]:
    body = answer.json()
    return answer.status_code, body["error"]["type"] if "error" in body else body["code"]


def part(headers: str, content: str = "") -> bytes:
    return f"--x\r\nContent-Disposition: form-data; {headers}\r\n\r\n{content}\r\n".encode()


@pytest.fixture
def url(root: Folder) -> str:
    return f"/api/2.0/files/{root.pk}/upload"


# Bodies


@pytest.mark.parametrize("path", ["{create}", "/uppy/s3/multipart", "/api/2.0/authentication"])
def test_large_fields_are_refused_unread(file_store: Store, uploader: Uploader, path: str) -> None:
    """The body has not arrived; the response must not wait for it."""
    path = path.format(create=uploader.url)
    answer = uploader.api.post(path, content_type="application/json", CONTENT_LENGTH=str(10 * MIB))
    assert code_of(answer) == (413, "fields_too_large")


def test_fields_without_length_are_limited(file_store: Store, uploader: Uploader) -> None:
    chunked: dict[str, Any] = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    body = b'{"FileName": "' + b"a" * MIB + b'"}'
    answer = uploader.api.generic("POST", uploader.url, body, content_type="application/json", **chunked)
    assert code_of(answer) == (413, "fields_too_large")


def test_lists_may_exceed_the_field_limit(file_store: Store, uploader: Uploader) -> None:
    titles = [f"{number:0100}.txt" for number in range(900)]
    answer = uploader.api.post(uploader.url.replace("create_session", "check"), {"filesTitle": titles}, format="json")
    assert (answer.status_code, answer.json()["response"]) == (200, [])


@pytest.mark.parametrize(
    ("behind", "code"),
    [
        (part('name="a"', "b" * MIB) + b"--x--\r\n", (413, "fields_too_large")),
        (b"--x--\r\n" + b"e" * 3 * MIB, (400, "malformed_form")),
    ],
    ids=["fields", "epilogue"],
)
def test_form_data_after_the_file_is_limited(
    file_store: Store, api: APIClient, url: str, behind: bytes, code: tuple[int, str]
) -> None:
    body = part('name="f"; filename="a.txt"', "abc") + behind
    assert code_of(api.generic("POST", url, body, content_type=FORM)) == code
    assert not File.objects.exists()


def test_unread_body_closes_its_connection(file_store: Store, uploader: Uploader) -> None:
    """Otherwise gunicorn could parse the rest as another request on a proxy's shared connection."""

    class Body(io.BytesIO):
        failed = False

    body, drains = Body(b"{}"), [RequestSlot() for _ in range(REFUSED)]
    here, there = socket.socketpair()
    with here, there, contextlib.ExitStack() as slots:
        for drain in drains:
            slots.callback(drain.release)
            assert drain.acquire_to_drain()
        answer = APIClient().generic(
            "POST",
            uploader.url,
            CONTENT_LENGTH=str(10 * MIB),
            content_type="application/json",
            **{"wsgi.input": body, "gunicorn.socket": here},
        )
        assert (answer.status_code, body.failed, body.tell()) == (401, True, 0)


def test_authentication_precedes_boundary_parsing(file_store: Store, root: Folder, url: str) -> None:
    hostile = 'multipart/form-data; boundary="' + "\\" * 32
    assert APIClient().generic("POST", url, b"", content_type=hostile).status_code == 401
    assert APIClient().generic("POST", "/uppy/s3/multipart", b"", content_type=hostile).status_code == 401


def test_login_is_throttled(settings: Any, user: User) -> None:
    answers = [
        APIClient().post("/api/2.0/authentication", {"userName": "demo", "password": "wrong"}, REMOTE_ADDR="192.0.2.1")
        for _ in range(31)
    ]
    assert [answer.status_code for answer in answers] == [401] * 30 + [429]
    assert int(answers[-1]["Retry-After"]) > 0


# Forms


@pytest.mark.parametrize(
    "fields",
    [
        {"dztotalchunkcount": "3", "dzchunkindex": "0"},
        {"flowTotalChunks": "3", "flowChunkNumber": "1"},
        {"resumableTotalChunks": "3", "resumableChunkNumber": "1"},
        {"chunks": "3", "chunk": "0"},
        {"dztotalfilesize": "1000"},
        {"dztotalfilesize": "9" * 5000},
    ],
    ids=["dropzone", "flow", "resumable", "plupload", "another-size", "huge-size"],
)
@pytest.mark.parametrize("where", ["before", "behind", "query"])
@pytest.mark.parametrize("path", ["{url}", "/tus/"])
def test_widget_chunks_are_refused_as_files(
    file_store: Store, api: APIClient, url: str, path: str, where: str, fields: dict[str, str]
) -> None:
    reported = b"".join(part(f'name="{name}"', value) for name, value in fields.items())
    file = part('name="file"; filename="a.bin"', "abc")
    body = {"before": reported + file, "behind": file + reported, "query": file}[where] + b"--x--\r\n"
    query = "?" + "&".join(f"{name}={value}" for name, value in fields.items()) if where == "query" else ""
    answer = api.generic("POST", path.format(url=url) + query, body, content_type=FORM)
    assert code_of(answer) == (400, "chunk_of_widget")
    assert not File.objects.exists()


@pytest.mark.parametrize("prefix", ["", "InsertFile."])
@pytest.mark.parametrize("path", ["upload", "insert"])
def test_fields_after_the_file_apply(file_store: Store, api: APIClient, url: str, path: str, prefix: str) -> None:
    url = url.replace("upload", path)
    for content in ("old", "new"):
        reported = part(f'name="{prefix}Title"', "kept.txt") + part(f'name="{prefix}CreateNewIfExist"', "true")
        body = part('name="file"; filename="blob"', content) + reported + b"--x--\r\n"
        assert api.generic("POST", url, body, content_type=FORM).status_code == 200
    assert sorted(File.objects.values_list("title", flat=True)) == ["kept (1).txt", "kept.txt"]


def test_title_after_the_file_is_validated(
    file_store: Store, api: APIClient, url: str, uploads_settings: Change
) -> None:
    uploads_settings(ALLOWED_EXTENSIONS={".txt"})
    body = part('name="file"; filename="a.txt"', "abc") + part('name="title"', "a.exe") + b"--x--\r\n"
    assert code_of(api.generic("POST", url, body, content_type=FORM)) == (403, "extension_not_allowed")
    assert not File.objects.exists()


def test_editors_save_under_both_paths(file_store: Store, api: APIClient, url: str) -> None:
    file = api.post(url, {"file": ContentFile(b"old", "a.txt")}, format="multipart").json()["response"]
    for number, path in enumerate(("{id}/update", "file/{id}/saveediting")):
        address = f"/api/2.0/files/{path.format_map(file)}"
        answer = api.put(address, {"file": ContentFile(b"%d" % number, "x")}, format="multipart")
        assert answer.status_code == 200
        assert b"".join(api.get(answer.json()["response"]["viewUrl"]).streaming_content) == b"%d" % number


# Quotas


def test_metadata_is_limited_in_every_protocol(file_store: Store, api: APIClient, root: Folder, user: User) -> None:
    value = "a" * 9000
    answers = [
        api.post("/tus/", HTTP_TUS_RESUMABLE="1.0.0", HTTP_UPLOAD_LENGTH="1", HTTP_UPLOAD_METADATA=meta(note=value)),
        api.post("/uppy/s3/multipart", {"filename": "a", "metadata": {"note": value, "size": 1}}, format="json"),
    ]
    assert [code_of(answer) for answer in answers] == [(413, "metadata_too_large")] * 2
    assert not UploadSession.objects.exists()


def test_form_files_count_against_free_space(file_store: Store, user: User, root: Folder, settings: Any) -> None:
    settings.QUOTA = 10
    metadata = {"field": ticket(user, Limits(label="a"))}
    request = FileRequest(name="a.bin", size=11, destination="forms", metadata=metadata)
    with pytest.raises(Exception, match=r"only 10.bytes left"):
        sessions.create(user, "", request)


def test_deployment_without_limits_gets_a_warning(settings: Any, uploads_settings: Change) -> None:
    destination = "uploads.destinations.PlainDestination"
    uploads_settings(DESTINATION=destination)
    assert [message.id for message in check_limits()] == ["uploads.W016"]
    uploads_settings(DESTINATION=destination, MAX_FILE_SIZE=MIB)
    assert check_limits() == []


# Storages


class Encrypting(FileSystemStorage):
    def _save(self, name: str, content: Any) -> str:
        return super()._save(name, ContentFile(bytes(byte ^ 1 for byte in content.read())))  # type: ignore[misc, no-any-return]


class OnS3(S3Storage):  # type: ignore[misc]
    def _open(self, name: str, mode: str = "rb") -> Any:
        return super()._open(name, mode)


@pytest.mark.parametrize(
    "backend",
    [f"{__name__}.Encrypting", f"{__name__}.OnS3", "storages.backends.s3.S3Storage"],
    ids=["fs", "s3", "gzip"],
)
def test_storages_that_transform_bytes_are_refused(
    settings: Any, uploads_settings: Change, s3_storage: dict[str, Any], tmp_path: Path, backend: str
) -> None:
    options: Any = {"location": str(tmp_path)} if "Encrypting" in backend else s3_storage["OPTIONS"] | {"gzip": True}
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": backend, "OPTIONS": options}}
    assert [message.id for message in check_settings()] == ["uploads.E053"]
    uploads_settings(BYPASSED_STORAGES=["default"])
    assert check_settings() == []


def test_upload_field_refuses_transforming_storage(settings: Any, tmp_path: Path) -> None:
    storage = {"BACKEND": f"{__name__}.Encrypting", "OPTIONS": {"location": str(tmp_path)}}
    settings.STORAGES = {**settings.STORAGES, "vault": storage}

    class Form(forms.Form):
        file = UploadField(storage="vault")

    try:
        assert [message.id for message in check_forms()] == ["uploads.E053"]
        with pytest.raises(ImproperlyConfigured, match="vault"):
            Form()["file"]
    finally:
        Form.base_fields.clear()


def test_storage_directory_may_change(settings: Any, tmp_path: Path, open_session: Any) -> None:
    """Django keeps the storage object while a portal's tests change MEDIA_ROOT."""
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": FILES}}
    for name in ("one", "two"):
        settings.MEDIA_ROOT = tmp_path / name
        sessions.receive(open_session(3), chunk_of(b"abc"))
        assert (tmp_path / name / ".upload-sessions").exists()


# Deadlines and forks


def test_hanging_calls_end_with_their_deadline() -> None:
    ended, caller = threading.Event(), Caller(1)
    for _ in range(2):  # The second call finds no free thread.
        with pytest.raises(CallTimeout):
            caller.call(0.05, ended.wait)
    ended.set()
    assert caller.call(10, lambda: "answer") == "answer"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forked_process_uses_its_own_client(s3_store: Store) -> None:
    assert call_with_timeout(s3_store.stat, "nothing") is None
    client = s3_store.client  # type: ignore[attr-defined]
    child = os.fork()
    if not child:
        alone = s3_store.client is not client  # type: ignore[attr-defined]
        os._exit(0 if call_with_timeout(s3_store.stat, "nothing") is None and alone else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# Leftovers and log lines


def test_completion_releases_fragments_of_dead_attempts(
    s3_store: Store, uploader: Uploader, s3_keys: Callable[[], set[str]], small_chunks: None
) -> None:
    created = uploader.create(4)
    uploader.send(created, b"ab")
    session = UploadSession.objects.get()
    get_store("default").put_fragment(
        fragment_of(session.object_name, session.name_signature), Buffer(b"x"), encrypted=False
    )
    UploadSession.objects.update(lease_until="2020-01-01T00:00Z")  # As a writer that died leaves it.
    assert uploader.send(created, b"cd").status_code == 201
    assert s3_keys() == {f"media/{session.object_name}"}


def test_each_refusal_logs_one_line(file_store: Store, uploader: Uploader, caplog: pytest.LogCaptureFixture) -> None:
    created = uploader.create(100 * MIB, name="film.mov")
    caplog.set_level(logging.WARNING, "uploads")
    uploader.send_raw(created, b"too small")
    uploader.api.post(uploader.url, {"FileName": "a/../..", "FileSize": -1}, format="json")
    small, bad = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    named = f"session {UploadSession.objects.get().pk.hex}"
    for word in ("400 chunk_too_small", named, "'film.mov'", "0 of 104857600"):
        assert word in small
    assert "user auth.user:" in small
    assert "400 invalid_request" in bad


def test_clients_cannot_inject_log_lines(file_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "uploads")
    APIClient().put("/api/2.0/files/x%0A2026-11-30 ERROR forged%1B[31m/update")
    (message,) = [record.getMessage() for record in caplog.records if record.name.startswith("uploads")]
    assert message.isprintable()
    assert "401 not_authenticated" in message


def test_failure_causes_reach_log_and_admin(
    proxy: Proxy, uploader: Uploader, caplog: pytest.LogCaptureFixture, admin_client: Client
) -> None:
    created = uploader.create(3)
    caplog.set_level(logging.WARNING, "uploads")
    proxy.inject("CompleteMultipartUpload", with_code(503, "SlowDown"), times=9)
    assert uploader.send(created, b"abc").status_code == 202
    cause = "CompleteMultipartUpload was answered 503 SlowDown"
    assert cause in caplog.text
    page = admin_client.get(f"/admin/upload_sessions/uploadsession/{UploadSession.objects.get().pk}/change/")
    assert cause in page.content.decode()
