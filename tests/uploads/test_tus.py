"""tus 1.0.0: the protocol, and requests of its clients beyond the specification."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from portal.destination import PortalDestination
from portal.models import File, Folder
from tests.data import MIB, some_bytes
from tests.proxy import Proxy, refuse
from uploads._internal import sessions
from uploads._internal.http.exceptions import IncompleteBody
from uploads._internal.http.slots import RequestSlot
from uploads._internal.owners import key_of
from uploads._internal.sessions import Chunk
from uploads._internal.stores.base import Store
from uploads.exceptions import Forbidden, QuotaExceeded
from uploads.models import State, UploadSession

TUS = {"HTTP_TUS_RESUMABLE": "1.0.0"}
BYTES = "application/offset+octet-stream"
pytestmark = [pytest.mark.django_db]


def meta(**pairs: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


class Client:
    """A tus client, based on Django's test client."""

    def __init__(self, api: APIClient, folder: Folder | None = None) -> None:
        self.api = api
        self.endpoint = f"/folders/{folder.pk}/tus/" if folder else "/tus/"

    def create(self, size: int | None, data: bytes | None = None, name: str = "a.bin", **headers: Any) -> Any:
        if size is None:
            headers["HTTP_UPLOAD_DEFER_LENGTH"] = "1"
        else:
            headers.setdefault("HTTP_UPLOAD_LENGTH", str(size))
        headers.setdefault("HTTP_UPLOAD_METADATA", meta(filename=name))
        kind = {} if data is None else {"content_type": BYTES}
        return self.api.generic("POST", self.endpoint, data or b"", **kind, **TUS | headers)

    def patch(self, url: str, offset: object, data: bytes, **headers: Any) -> Any:
        headers = {"HTTP_UPLOAD_OFFSET": str(offset), "content_type": BYTES} | TUS | headers
        return self.api.generic("PATCH", url, data, **headers)

    def head(self, url: str, **headers: Any) -> Any:
        return self.api.head(url, **TUS | headers)

    def delete(self, url: str) -> Any:
        return self.api.delete(url, **TUS)

    def content(self, url: str) -> bytes:
        file = self.api.get(self.api.get(url).json()["url"])
        return b"".join(file.streaming_content)


@pytest.fixture
def tus(api: APIClient, root: Folder, file_store: Store) -> Client:
    return Client(api)


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("size", [0, 1, 6 * MIB, 31 * MIB + 7], ids=str)
@pytest.mark.parametrize("how", ["one-patch", "with-creation", "deferred"])
def test_file_is_stored_as_sent(api: APIClient, root: Folder, store: Store, size: int, how: str) -> None:
    tus, data = Client(api, root), some_bytes(size)
    created = tus.create(None if how == "deferred" else size, data if how == "with-creation" else None)
    url = created["Location"]
    assert created.status_code == 201
    if how == "with-creation" or (size == 0 and how != "deferred"):
        assert created["Upload-Offset"] == str(size)
    else:
        reported = {"HTTP_UPLOAD_LENGTH": str(size)} if how == "deferred" else {}
        answer = tus.patch(url, 0, data, **reported)
        assert (answer.status_code, answer["Upload-Offset"]) == (204, str(size))
        assert answer["Content-Location"] == api.get(url).json()["url"]
    assert tus.head(url)["Upload-Offset"] == tus.head(url)["Upload-Length"] == str(size)
    assert tus.content(url) == data
    assert api.get(url).json()["file"]["folder_id"] == root.pk


def test_wrong_offset_is_refused(tus: Client) -> None:
    url = tus.create(10)["Location"]
    assert tus.patch(url, 0, b"01234")["Upload-Offset"] == "5"
    for offset in (0, 4, 6):
        wrong = tus.patch(url, offset, b"5")
        assert code_of(wrong) == (409, "offset_mismatch")
        assert wrong["Upload-Offset"] == "5"
    assert tus.patch(url, 5, b"56789").status_code == 204
    assert tus.content(url) == b"0123456789"


def test_options_request_needs_no_login(db: None) -> None:
    answer = APIClient().options("/tus/")
    assert (answer.status_code, answer["Tus-Version"], answer["Tus-Resumable"]) == (200, "1.0.0", "1.0.0")
    extensions = "creation,creation-with-upload,creation-defer-length,expiration,termination,checksum,concatenation"
    assert answer["Tus-Extension"] == extensions
    assert {"sha1", "md5", "sha256"} <= set(answer["Tus-Checksum-Algorithm"].split(","))
    assert int(answer["Tus-Max-Size"]) > 40 * 2**40
    assert APIClient().options("/tus/whatever", HTTP_TUS_RESUMABLE="0.2.2").status_code == 200


def test_supported_version_is_required(tus: Client) -> None:
    url = tus.create(3)["Location"]
    refused = [
        tus.patch(url, 0, b"abc", HTTP_TUS_RESUMABLE="0.2.2"),
        tus.api.generic("PATCH", url, b"abc", content_type=BYTES, HTTP_UPLOAD_OFFSET="0"),
        tus.create(3, HTTP_TUS_RESUMABLE="2.0.0"),
        tus.api.generic("POST", "/tus/", b"", HTTP_UPLOAD_LENGTH="3"),
        tus.head(url, HTTP_TUS_RESUMABLE="0.2.2"),
    ]
    assert [(answer.status_code, answer["Tus-Version"]) for answer in refused] == [(412, "1.0.0")] * 5
    assert tus.api.head(url)["Upload-Offset"] == "0"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"HTTP_UPLOAD_LENGTH": "-1"}, "invalid_request"),
        ({"HTTP_UPLOAD_LENGTH": "3.5"}, "invalid_request"),
        ({"HTTP_UPLOAD_LENGTH": "٣"}, "invalid_request"),
        ({"HTTP_UPLOAD_DEFER_LENGTH": "1"}, "invalid_request"),
        ({"HTTP_UPLOAD_METADATA": "filename !!!"}, "invalid_request"),
        ({"HTTP_UPLOAD_METADATA": "filename YQ==,filename YQ=="}, "invalid_request"),
        ({"HTTP_UPLOAD_METADATA": "filename YQ==,,"}, "invalid_request"),
        ({"HTTP_UPLOAD_CONCAT": "half"}, "invalid_request"),
    ],
    ids=ascii,
)
def test_malformed_creation_is_refused(tus: Client, headers: dict[str, Any], code: str) -> None:
    assert code_of(tus.create(3, **headers)) == (400, code)
    assert not UploadSession.objects.exists()


def test_creation_requires_length_or_deferral(tus: Client) -> None:
    assert code_of(tus.api.generic("POST", "/tus/", b"", **TUS)) == (400, "invalid_request")
    two: dict[str, Any] = {"HTTP_UPLOAD_DEFER_LENGTH": "2"}
    assert code_of(tus.api.generic("POST", "/tus/", b"", **TUS | two)) == (400, "invalid_request")


def test_oversized_files_and_chunks_are_refused(tus: Client, uploads_settings: Any) -> None:
    uploads_settings(MAX_FILE_SIZE=10)
    assert tus.api.options("/tus/")["Tus-Max-Size"] == "10"
    assert tus.create(11).status_code == 413
    deferred = tus.create(None)["Location"]
    assert tus.patch(deferred, 0, b"", HTTP_UPLOAD_LENGTH="11").status_code == 413
    url = tus.create(3)["Location"]
    assert code_of(tus.patch(url, 0, b"abcd")) == (413, "chunk_beyond_file")
    assert tus.patch(url, 0, b"abc").status_code == 204


def test_deferred_length_is_fixed_once(tus: Client) -> None:
    url = tus.create(None)["Location"]
    asked = tus.head(url)
    assert (asked["Upload-Defer-Length"], "Upload-Length" in asked) == ("1", False)
    assert tus.patch(url, 0, b"ab").status_code == 204
    assert tus.patch(url, 2, b"", HTTP_UPLOAD_LENGTH="4").status_code == 204
    asked = tus.head(url)
    assert (asked["Upload-Length"], "Upload-Defer-Length" in asked) == ("4", False)
    assert code_of(tus.patch(url, 2, b"cd", HTTP_UPLOAD_LENGTH="5")) == (400, "length_inconsistent")
    assert tus.patch(url, 2, b"cd", HTTP_UPLOAD_LENGTH="4").status_code == 204
    assert tus.content(url) == b"abcd"


def test_length_below_offset_is_refused(tus: Client) -> None:
    url = tus.create(None)["Location"]
    tus.patch(url, 0, b"abc")
    assert code_of(tus.patch(url, 3, b"", HTTP_UPLOAD_LENGTH="2")) == (400, "length_inconsistent")
    assert tus.patch(url, 3, b"", HTTP_UPLOAD_LENGTH="3").status_code == 204
    assert tus.content(url) == b"abc"


def test_metadata_is_stored_and_returned(tus: Client) -> None:
    given = meta(filename="größe.txt", filetype="text/x-special", relativePath="null", note="ja")
    url = tus.create(3, HTTP_UPLOAD_METADATA=f"{given},empty")["Location"]
    session = UploadSession.objects.get()
    assert (session.file_name, session.content_type) == ("größe.txt", "text/x-special")
    assert session.metadata == {
        "filename": "größe.txt", "filetype": "text/x-special", "relativePath": "null", "note": "ja", "empty": "",
    }  # fmt: skip
    assert tus.head(url)["Upload-Metadata"] == f"{given},empty"


@pytest.mark.parametrize(
    ("pairs", "name", "folders"),
    [
        ({"name": "a.txt"}, "a.txt", []),
        ({"filename": "null", "name": "b.txt"}, "b.txt", []),
        ({"filename": "c.txt", "relativePath": "one/two/c.txt"}, "c.txt", ["one", "two"]),
        ({"filename": "c.txt", "relativePath": "c.txt"}, "c.txt", []),
        ({"filetype": "image/png"}, "upload.png", []),
        ({"filetype": "not a type"}, "upload", []),
        ({"filename": "../../etc/passwd"}, "passwd", []),
    ],
    ids=ascii,
)
def test_metadata_determines_name_and_folders(
    tus: Client, root: Folder, pairs: dict[str, str], name: str, folders: list[str]
) -> None:
    assert tus.create(3, HTTP_UPLOAD_METADATA=meta(**pairs)).status_code == 201
    session = UploadSession.objects.get()
    assert session.file_name == name
    assert [Folder.objects.get(pk=pk).title for pk in session.path] == [root.title, *folders]


@pytest.mark.parametrize("value", [b"a\xff\0b.txt", b"data:;base64,YQ==", "größe".encode(), b""], ids=ascii)
def test_arbitrary_metadata_is_returned_unchanged(tus: Client, value: bytes) -> None:
    given = f"filename {base64.b64encode(value).decode()}".strip()
    created = tus.create(3, HTTP_UPLOAD_METADATA=given)
    assert created.status_code == 201
    assert tus.head(created["Location"])["Upload-Metadata"] == given


def test_empty_chunk_with_checksum_is_accepted(tus: Client) -> None:
    url = tus.create(3)["Location"]
    checksum = base64.b64encode(hashlib.sha1(b"").digest()).decode()  # noqa: S324 - tus requires SHA-1
    assert tus.patch(url, 0, b"", HTTP_UPLOAD_CHECKSUM=f"sha1 {checksum}").status_code == 204
    assert tus.patch(url, 0, b"abc").status_code == 204


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "sha256"])
def test_checksum_mismatch_discards_the_chunk(tus: Client, algorithm: str) -> None:
    def checksum(data: bytes) -> dict[str, str]:
        digest = hashlib.new(algorithm, data).digest()
        return {"HTTP_UPLOAD_CHECKSUM": f"{algorithm} {base64.b64encode(digest).decode()}"}

    data = some_bytes(12 * MIB)
    url = tus.create(len(data))["Location"]
    answer = tus.patch(url, 0, data, **checksum(b"other"))
    assert (code_of(answer), answer.json()["status"]) == ((460, "digest_mismatch"), 460)
    assert tus.head(url)["Upload-Offset"] == "0"
    assert tus.patch(url, 0, data, **checksum(data)).status_code == 204
    assert tus.content(url) == data


@pytest.mark.parametrize(
    ("checksum", "status"), [("crc32 YQ==", 400), ("sha1 not-base64", 400), ("sha1", 400), ("sha1 YQ==", 460)]
)
def test_malformed_checksum_is_refused(tus: Client, checksum: str, status: int) -> None:
    url = tus.create(3)["Location"]
    answer = tus.patch(url, 0, b"abc", HTTP_UPLOAD_CHECKSUM=checksum)
    assert answer.status_code == status
    assert tus.head(url)["Upload-Offset"] == "0"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"content_type": "application/octet-stream"}, (415, "content_type_unsupported")),
        ({"HTTP_UPLOAD_OFFSET": "-1"}, (400, "invalid_request")),
        ({"HTTP_UPLOAD_OFFSET": "x"}, (400, "invalid_request")),
        ({"HTTP_CONTENT_ENCODING": "gzip"}, (415, "content_encoding_unsupported")),
    ],
)
def test_malformed_chunk_is_refused(tus: Client, headers: dict[str, str], expected: tuple[int, str]) -> None:
    url = tus.create(3)["Location"]
    assert code_of(tus.patch(url, 0, b"abc", **headers)) == expected
    assert tus.head(url)["Upload-Offset"] == "0"


def test_terminated_upload_is_gone(tus: Client) -> None:
    url = tus.create(3)["Location"]
    assert tus.delete(url).status_code == 204
    gone = tus.head(url), tus.patch(url, 0, b"abc"), tus.delete(url)
    assert [answer.status_code for answer in gone] == [410, 410, 410]


def test_destination_vetoes_termination(tus: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_all(self: PortalDestination, user: Any, session: UploadSession) -> None:
        raise Forbidden

    monkeypatch.setattr(PortalDestination, "accept_abort", refuse_all, raising=True)
    url = tus.create(3)["Location"]
    assert code_of(tus.delete(url)) == (403, "forbidden")
    assert tus.patch(url, 0, b"abc").status_code == 204


def test_error_of_head_has_no_body(tus: Client) -> None:
    answer = tus.head("/tus/unknown")
    assert (answer.status_code, answer.data) == (404, None)


def test_completed_upload_keeps_its_file_unchanged(tus: Client) -> None:
    url = tus.create(3, b"abc")["Location"]
    assert tus.patch(url, 0, b"abc").status_code == 409
    assert tus.patch(url, 3, b"d").status_code == 409
    assert tus.patch(url, 3, b"").status_code == 204
    assert tus.delete(url).status_code == 204
    assert (tus.content(url), File.objects.count()) == (b"abc", 1)


def test_expired_upload_is_gone(tus: Client) -> None:
    url = tus.create(3)["Location"]
    assert "Upload-Expires" in tus.head(url)
    sessions.expire_now(UploadSession.objects.get())
    assert [tus.head(url).status_code, tus.patch(url, 0, b"a").status_code] == [410, 410]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"])
def test_method_override_works_with_any_method(tus: Client, method: str) -> None:
    url = tus.create(3)["Location"]
    appends = {"HTTP_X_HTTP_METHOD_OVERRIDE": "PATCH", "HTTP_UPLOAD_OFFSET": "0", "content_type": BYTES}
    assert tus.api.generic(method, url, b"abc", **TUS | appends).status_code == 204
    assert tus.content(url) == b"abc"
    begins = {"HTTP_X_HTTP_METHOD_OVERRIDE": "POST", "HTTP_UPLOAD_LENGTH": "3"}
    created = tus.api.generic(method, "/tus/", **TUS | begins)
    assert created.status_code == 201
    ends = {"HTTP_X_HTTP_METHOD_OVERRIDE": "DELETE"}
    assert tus.api.generic(method, created["Location"], **TUS | ends).status_code == 204
    assert tus.head(created["Location"]).status_code == 410


def test_refused_chunk_reports_upload_expiry(tus: Client) -> None:
    answer = tus.patch(tus.create(3)["Location"], 1, b"bc")
    assert (answer.status_code, "Upload-Expires" in answer) == (409, True)


def test_deferred_upload_continues_with_another_protocol(tus: Client) -> None:
    url = tus.create(None)["Location"]
    location = f"/ChunkedUploader.ashx?uid={url.rstrip('/').rpartition('/')[2]}"
    data = some_bytes(11 * MIB)
    ranges = f"bytes 0-{10 * MIB - 1}/{11 * MIB}", f"bytes {10 * MIB}-{11 * MIB - 1}/{11 * MIB}"
    first = tus.api.generic("PUT", location, data[: 10 * MIB], HTTP_CONTENT_RANGE=ranges[0])
    assert first.status_code == 200, first.content
    assert tus.head(url)["Upload-Length"] == str(11 * MIB)
    assert tus.api.generic("PUT", location, data[10 * MIB :], HTTP_CONTENT_RANGE=ranges[1]).status_code == 201
    assert tus.content(url) == data


def test_numbers_beyond_any_file_are_refused(tus: Client) -> None:
    assert code_of(tus.create(int("9" * 30))) == (413, "file_too_large")
    assert tus.patch(tus.create(3)["Location"], int("9" * 30), b"abc").status_code == 409


def test_unknown_method_override_is_refused(tus: Client) -> None:
    assert tus.create(3, HTTP_X_HTTP_METHOD_OVERRIDE="FOO").status_code == 405
    url = tus.create(3)["Location"]
    disguised = {"HTTP_X_HTTP_METHOD_OVERRIDE": "PATCH", "HTTP_UPLOAD_OFFSET": "0", "content_type": BYTES}
    assert tus.api.generic("POST", url, b"abc", **TUS | disguised).status_code == 204
    assert tus.content(url) == b"abc"


def test_upload_is_private_to_its_owner(tus: Client, other_user: User) -> None:
    url = tus.create(3)["Location"]
    stranger = Client(APIClient())
    stranger.api.force_authenticate(other_user)
    answers = [stranger.head(url), stranger.patch(url, 0, b"abc"), stranger.delete(url), stranger.api.get(url)]
    assert [answer.status_code for answer in answers] == [404] * 4
    nobody = Client(APIClient())
    assert [answer.status_code for answer in (nobody.head(url), nobody.create(3))] == [401, 401]
    assert nobody.head(url)["Tus-Resumable"] == "1.0.0"


@pytest.mark.parametrize("name", ["unknown", "0" * 32])
def test_unknown_upload_is_not_found(tus: Client, name: str) -> None:
    assert [tus.head(f"/tus/{name}").status_code, tus.delete(f"/tus/{name}").status_code] == [404, 404]


def test_foreign_folder_refuses_uploads(tus: Client, other_user: User) -> None:
    tus.endpoint = f"/folders/{Folder.objects.create(owner=other_user, title='theirs').pk}/tus/"
    assert code_of(tus.create(3)) == (404, "folder_not_found")


def test_creation_survives_a_store_failure(api: APIClient, root: Folder, proxy: Proxy) -> None:
    tus, data = Client(api), some_bytes(12 * MIB)
    proxy.inject("UploadPart", refuse, times=100)
    created = tus.create(len(data), data)
    proxy.heal()
    assert (created.status_code, created["Upload-Offset"]) == (201, "0")
    assert tus.patch(created["Location"], 0, data).status_code == 204
    assert tus.content(created["Location"]) == data


def test_failed_completion_is_not_reported_as_success(tus: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_it(*_: Any) -> None:
        raise QuotaExceeded(size=3, free=0, reserved=0)

    url = tus.create(3)["Location"]
    monkeypatch.setattr("portal.destination.PortalDestination.publish", refuse_it)
    assert code_of(tus.patch(url, 0, b"abc")) == (422, "completion_failed")
    assert tus.head(url).status_code == 422
    reported = tus.api.get(url).json()
    assert (reported["state"], reported["file"]) == (State.FAILED, None)
    assert "you have only" in reported["failure"]


@pytest.mark.parametrize("size", [0, 3])
def test_failed_completion_fails_creation_with_upload(tus: Client, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    def refuse_it(*_: Any) -> None:
        raise QuotaExceeded(size=3, free=0, reserved=0)

    monkeypatch.setattr("portal.destination.PortalDestination.publish", refuse_it)
    assert code_of(tus.create(size, bytes(size))) == (422, "completion_failed")


def test_empty_file_needs_a_request_slot(tus: Client, uploads_settings: Any, user: User) -> None:
    uploads_settings(UPLOAD_THREADS=1)
    slot = RequestSlot()
    slot.acquire(key_of(user))
    assert tus.create(0).status_code == 429
    slot.release()
    assert not UploadSession.objects.unfinished().exists()
    assert tus.create(0).status_code == 201
    assert File.objects.count() == 1


def test_another_protocol_can_finish_the_upload(tus: Client, small_chunks: None) -> None:
    url = tus.create(6)["Location"]
    tus.patch(url, 0, b"abc")
    session = UploadSession.objects.get()
    api = f"/api/2.0/files/1/session/{session.pk.hex}"
    assert tus.api.get(api).json()["response"]["bytes_uploaded"] == 3
    answer = tus.api.generic("POST", api, b"def", content_type="application/octet-stream")
    assert answer.status_code == 201
    assert tus.content(url) == b"abcdef"


def test_numbered_sessions_refuse_tus_requests(tus: Client, small_chunks: None) -> None:
    url = tus.create(6)["Location"]
    sessions.receive_numbered(UploadSession.objects.get(), Chunk(iter([b"abc"])), 1)
    assert [tus.head(url).status_code, tus.patch(url, 0, b"abc").status_code] == [409, 409]


def test_truncated_patch_keeps_received_bytes(tus: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: Any, **__: Any) -> Iterator[bytes]:
        yield b"abc"
        raise IncompleteBody(received=3, declared=6)

    url = tus.create(6)["Location"]
    with monkeypatch.context() as patched:
        patched.setattr("uploads._internal.protocols.tus.variant.read_blocks", cut)
        assert code_of(tus.patch(url, 0, b"abcdef")) == (400, "incomplete_body")
    assert tus.head(url)["Upload-Offset"] == "3"
