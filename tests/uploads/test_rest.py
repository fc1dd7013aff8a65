"""API routes besides create_session and the location, and portals with text ids."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.contrib.auth.models import AbstractBaseUser
from django.core.cache import cache
from rest_framework.test import APIClient
from rest_framework.throttling import ScopedRateThrottle

from portal.models import File, Folder
from tests.helpers import Uploader
from tests.uploads.test_api import error_of
from uploads import destinations
from uploads._internal.protocols.onlyoffice.views import OnlyofficeCreateViewSet
from uploads._internal.stores.base import Store
from uploads.models import UploadSession

pytestmark = pytest.mark.usefixtures("file_store", "small_chunks")


@pytest.fixture
def base(root: Folder) -> str:
    return f"/api/2.0/files/{root.pk}"


@pytest.fixture
def session(api: APIClient, base: str) -> Any:
    return api.post(f"{base}/session", {"fileName": "a.txt", "fileSize": 4}, format="json").json()["response"]


def upload(api: APIClient, url: str, data: bytes) -> Any:
    return api.generic("POST", url, data, content_type="application/octet-stream")


def test_ordered_chunks_complete_the_file(api: APIClient, base: str, session: Any, root: Folder) -> None:
    url = f"{base}/session/{session['id']}"
    answer = upload(api, url, b"ab")
    assert (answer.status_code, answer["Range"]) == (200, "0-1")
    assert answer.json()["response"] == {
        "id": 0,
        "folderId": root.pk,
        "version": 1,
        "title": "a.txt",
        "uploaded": False,
        "bytes_uploaded": 2,
        "bytes_total": 4,
    }
    assert api.get(url).json()["response"]["bytes_uploaded"] == 2
    answer = upload(api, url, b"cd")
    file = answer.json()["response"]
    assert answer.status_code == 201
    assert (file["id"], file["uploaded"], file["providerKey"]) == (File.objects.get().pk, True, None)
    assert api.put(f"{url}/finalize").json()["response"] == file


def test_numbered_chunks_complete_on_finalize(api: APIClient, base: str, session: Any, root: Folder) -> None:
    url = f"{base}/session/{session['id']}"
    for query, data in [("ChunkNumber=2", b"cd"), ("chunkNumber=1", b"ab")]:
        answer = upload(api, f"{url}/upload?{query}", data)
        assert answer.status_code == 200
        assert answer.json()["response"]["path"] == [root.pk]
        assert "Range" not in answer
    assert api.put(f"{url}/finalize.json").status_code == 201


@pytest.mark.parametrize("number", ["0", "abc", "-1", "99", "1.5", "9" * 30])
def test_invalid_chunk_numbers_are_refused(api: APIClient, base: str, session: Any, number: str) -> None:
    answer = upload(api, f"{base}/session/{session['id']}/upload?chunkNumber={number}", b"ab")
    assert error_of(answer)[0] == 400


def test_finalize_names_missing_chunks(api: APIClient, base: str, session: Any) -> None:
    url = f"{base}/session/{session['id']}"
    upload(api, f"{url}/upload?chunkNumber=3", b"c")
    answer = api.put(f"{url}/finalize")
    assert error_of(answer) == (409, "upload_incomplete")
    assert answer.json()["message"] == "The file is incomplete: 1 of 4 bytes are stored; missing chunks: 1, 2."


def test_abort_is_repeatable_and_final(api: APIClient, base: str, session: Any) -> None:
    url = f"{base}/session/{session['id']}"
    assert api.get(f"{url}.json").status_code == 200
    for _ in range(2):
        assert api.delete(url).json() == {"count": 0, "links": [], "status": 0, "statusCode": 200}
    assert error_of(upload(api, url, b"x")) == (410, "session_aborted")
    assert error_of(api.get(url)) == error_of(api.get(session["location"])) == (410, "session_aborted")


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        ("bytes 0-1/4", 200, ""),
        ("BYTES 0-1/*", 200, ""),
        ("bytes 2-3/4", 409, "offset_mismatch"),
        ("bytes 0-2/4", 400, "content_range_invalid"),
        ("bytes 0-1/5", 400, "content_range_invalid"),
        ("bytes 1-0/4", 400, "content_range_invalid"),
        ("bytes 0-9/4", 400, "content_range_invalid"),
        ("chars 0-1/4", 400, "content_range_invalid"),
    ],
)
def test_content_range_is_validated(api: APIClient, session: Any, header: str, status: int, code: str) -> None:
    answer = api.generic("POST", session["location"], b"ab", headers={"Content-Range": header})
    if status == 200:
        assert answer.status_code == 200
    else:
        assert error_of(answer) == (status, code)
        assert answer.json()["error"]["details"]


@pytest.mark.parametrize("by", ["range", "offset"])
def test_partly_new_chunk_is_no_resend(api: APIClient, session: Any, by: str) -> None:
    def put(first: int, data: bytes) -> Any:
        payload = {"Content-Range": f"bytes {first}-{first + len(data) - 1}/4"} if by == "range" else {}
        url = session["location"] if by == "range" else f"{session['location']}&offset={first}"
        return api.generic("PUT", url, data, headers=payload)

    assert put(0, b"abc").status_code == 200
    assert put(1, b"bc").status_code == 200  # A resend after a lost response.
    answer = put(2, b"cd")
    assert error_of(answer) == (409, "offset_mismatch")
    assert answer.json()["error"]["details"]["expected"] == 3
    assert put(3, b"d").status_code == 201


@pytest.mark.parametrize("how", ["query", "body", "both"])
def test_edit_session_replaces_content_of_same_version(
    api: APIClient, uploader: Uploader, file_store: Any, how: str
) -> None:
    first = uploader.send(uploader.create(3, name="edited.txt"), b"one").json()["data"]
    url = f"/api/2.0/files/file/{first['id']}/edit_session"
    body = {} if how == "query" else {"fileSize": 5}
    answer = api.post(url if how == "body" else f"{url}?fileSize=5", body, format="json").json()
    assert answer["response"]["success"] is True
    with_new = uploader.send(answer["response"]["data"], b"three").json()["data"]
    assert (with_new["id"], with_new["version"], with_new["title"]) == (first["id"], 1, "edited.txt")
    assert b"".join(file_store.read(str(File.objects.get().content.name))) == b"three"


def test_foreign_file_cannot_be_edited(uploader: Uploader, other_user: Any) -> None:
    file = uploader.send(uploader.create(1), b"x").json()["data"]
    stranger = APIClient()
    stranger.force_authenticate(other_user)
    answer = stranger.post(f"/api/2.0/files/file/{file['id']}/edit_session?fileSize=1")
    assert error_of(answer) == (404, "file_not_found")


def test_check_lists_taken_titles(api: APIClient, base: str, uploader: Uploader) -> None:
    uploader.send(uploader.create(1, name="here?.txt"), b"x")
    titles = ["here?.txt", "there.txt", "here_.txt", "..", ""]
    answer = api.post(f"{base}/upload/check", {"filesTitle": titles[:4]}, format="json").json()
    assert answer["response"] == ["here?.txt", "here_.txt"]
    assert answer["count"] == 2
    assert error_of(api.post(f"{base}/upload/check", {"filesTitle": "x"}, format="json"))[0] == 400


def test_settings_need_no_login() -> None:
    answer = APIClient().get("/api/2.0/files/settings.json").json()["response"]
    assert (answer["chunkUploadSize"], answer["maxUploadThreadCount"]) == (10 * 2**20, 15)


def test_throttle_classes_of_the_portal_apply(
    api: APIClient, uploader: Uploader, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    cache.clear()
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": {"uploads-create": "1/hour"}}
    monkeypatch.setattr(ScopedRateThrottle, "THROTTLE_RATES", {"uploads-create": "1/hour"})
    monkeypatch.setattr(OnlyofficeCreateViewSet, "throttle_classes", [ScopedRateThrottle])
    uploader.create(1)
    answer = api.post(uploader.url, {"fileName": "a"}, format="json")
    assert error_of(answer) == (429, "throttled")
    assert int(answer["Retry-After"]) > 3000


class NamedFolders(destinations.Destination):
    """A minimal destination whose folder and file ids are names."""

    def folder(self, user: AbstractBaseUser, folder_id: str) -> destinations.Folder:
        return destinations.Folder(folder_id, ["root", folder_id])

    def publish(self, session: UploadSession) -> destinations.PublishedFile:
        return destinations.PublishedFile(
            f"file-{session.file_name}", session.folder_id, session.file_name, details={"viewUrl": "/x"}
        )


def test_portal_ids_may_be_text(api: APIClient, uploads_settings: Callable[..., None]) -> None:
    uploads_settings(DESTINATION=f"{NamedFolders.__module__}.{NamedFolders.__qualname__}")
    there = Uploader(api, "sbox-42")
    session = there.create(1, name="a")
    assert session["path"] == ["root", "sbox-42"]
    file = there.send(session, b"x").json()["data"]
    assert (file["id"], file["folderId"]) == ("file-a", "sbox-42")
    assert file["file"]["viewUrl"] == "http://testserver/x"
    refused: Sequence[tuple[str, str, dict[str, Any], str]] = [
        (there.url, "relative_path_unsupported", {"fileName": "a", "relativePath": "b"}, "no subfolders"),
        ("/api/2.0/files/file/1/edit_session", "edit_unsupported", {}, "no editing"),
    ]
    for url, code, fields, why in refused:
        assert error_of(api.post(url, fields, format="json"))[1] == code, why
    check = api.post("/api/2.0/files/sbox-42/upload/check", {"filesTitle": ["a"]}, format="json")
    assert check.json()["response"] == []


@pytest.mark.parametrize("sent", ["raw", "form"])
def test_body_digest_is_verified_before_commit(
    file_store: Store, small_chunks: None, uploader: Uploader, sent: str
) -> None:
    session = uploader.create(6)
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--b--\r\n'
    body = form if sent == "form" else b"abc"
    kind = "multipart/form-data; boundary=b" if sent == "form" else "application/octet-stream"
    md5, sha256 = (base64.b64encode(hashlib.new(name, body).digest()).decode() for name in ("md5", "sha256"))
    wrong = uploader.send_raw(session, body, content_type=kind, HTTP_CONTENT_MD5=md5.swapcase())
    assert wrong.json()["error"]["type"] == "digest_mismatch"
    assert uploader.state(session)["bytes_uploaded"] == 0
    headers = {"HTTP_CONTENT_MD5": md5, "HTTP_CONTENT_DIGEST": f"crc=:AA==:, sha-256=:{sha256}:"}
    assert uploader.send_raw(session, body, content_type=kind, **headers).status_code == 200
    assert uploader.state(session)["bytes_uploaded"] == 3
