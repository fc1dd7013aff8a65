"""All drafts of Resumable Uploads for HTTP, and plain uploads, on the tus URLs."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from rest_framework.test import APIClient

from portal.models import File, Folder
from tests.data import MIB, some_bytes
from uploads._internal import sessions
from uploads._internal.http.exceptions import IncompleteBody
from uploads._internal.stores.base import Store
from uploads.exceptions import QuotaExceeded
from uploads.models import UploadSession

VERSIONS = ["3", "4", "5", "6", "8", "9", "10", ""]
PARTIAL = "application/partial-upload"
MISMATCH = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"
INCONSISTENT = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length"
pytestmark = [pytest.mark.django_db]


class Client:
    """A client of one draft, based on Django's test client."""

    def __init__(self, api: APIClient, version: str) -> None:
        self.api, self.version = api, version
        self.flag = "Upload-Incomplete" if version == "3" else "Upload-Complete"
        self.is_early = version in ("3", "4", "5", "6")
        self.appended = 201 if self.is_early else 204
        self.gone = 404 if self.is_early else 410

    def headers(self, *, complete: bool | None, **headers: Any) -> dict[str, Any]:
        payload: dict[str, Any] = {"HTTP_UPLOAD_DRAFT_INTEROP_VERSION": self.version} if self.version else {}
        if complete is not None:
            value = complete != (self.version == "3")
            payload["HTTP_" + self.flag.upper().replace("-", "_")] = f"?{int(value)}"
        return payload | {name: value if name.startswith("wsgi.") else str(value) for name, value in headers.items()}

    def create(self, data: bytes, *, complete: bool, method: str = "POST", **headers: Any) -> Any:
        headers.setdefault("HTTP_CONTENT_DISPOSITION", "inline; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt")
        headers.setdefault("content_type", "text/plain")
        return self.api.generic(method, "/tus/", data, **self.headers(complete=complete, **headers))

    def append(self, url: str, offset: int, data: bytes, *, complete: bool, **headers: Any) -> Any:
        headers.setdefault("content_type", PARTIAL)
        payload = self.headers(complete=complete, HTTP_UPLOAD_OFFSET=offset, **headers)
        return self.api.generic("PATCH", url, data, **payload)

    def head(self, url: str) -> Any:
        return self.api.head(url, **self.headers(complete=None))

    def is_complete(self, answer: Any) -> bool:
        return bool((answer[self.flag] == "?1") != (self.version == "3"))

    def content(self, url: str) -> bytes:
        return b"".join(self.api.get(url).streaming_content)


@pytest.fixture(params=VERSIONS, ids=lambda version: f"version-{version or 'none'}")
def client_of(request: pytest.FixtureRequest, api: APIClient, root: Folder, file_store: Store) -> Client:
    return Client(api, request.param)


@pytest.fixture
def latest(api: APIClient, root: Folder, file_store: Store) -> Client:
    return Client(api, "9")


def problem(answer: Any) -> tuple[int, str]:
    assert answer["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"]


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("size", [0, 1, 11 * MIB], ids=str)
def test_one_request_uploads_a_file(client_of: Client, method: str, size: int) -> None:
    data = some_bytes(size)
    answer = client_of.create(data, complete=True, method=method)
    assert (answer.status_code, client_of.is_complete(answer)) == (201, True)
    assert client_of.content(answer.json()["url"]) == client_of.content(answer["Content-Location"]) == data
    assert File.objects.get().title == "größe.txt"
    assert File.objects.get().content_type == "text/plain"


def test_several_requests_upload_a_file(client_of: Client) -> None:
    data = some_bytes(20 * MIB)
    answer = client_of.create(data[: 6 * MIB], complete=False, HTTP_UPLOAD_LENGTH=len(data))
    assert (answer.status_code, client_of.is_complete(answer)) == (201, False)
    url = answer["Location"]
    asked = client_of.head(url)
    assert (asked.status_code, asked["Upload-Offset"], asked["Cache-Control"]) == (204, str(6 * MIB), "no-store")
    assert (client_of.is_complete(asked), asked["Upload-Length"]) == (False, str(len(data)))
    answer = client_of.append(url, 6 * MIB, data[6 * MIB : 7 * MIB], complete=False)
    assert (answer.status_code, client_of.is_complete(answer)) == (client_of.appended, False)
    answer = client_of.append(url, 7 * MIB, data[7 * MIB :], complete=True)
    assert (answer.status_code, client_of.is_complete(answer)) == (201, True)
    assert client_of.content(answer.json()["url"]) == data
    assert client_of.is_complete(client_of.head(url))
    if client_of.version:
        assert answer["Upload-Draft-Interop-Version"] == client_of.version


def test_final_append_fixes_an_unknown_length(client_of: Client) -> None:
    url = client_of.create(b"", complete=False)["Location"]
    assert "Upload-Length" not in client_of.head(url)
    assert client_of.append(url, 0, b"abc", complete=False).status_code == client_of.appended
    answer = client_of.append(url, 3, b"", complete=True)
    assert answer.status_code == 201
    assert client_of.content(answer.json()["url"]) == b"abc"


@pytest.mark.parametrize("at_creation", [True, False])
def test_known_length_completes_without_final_flag(client_of: Client, *, at_creation: bool) -> None:
    answer = client_of.create(b"abc" if at_creation else b"a", complete=False, HTTP_UPLOAD_LENGTH=3)
    url = answer["Location"]
    if not at_creation:
        answer = client_of.append(url, 1, b"bc", complete=False)
    assert (answer["Upload-Offset"], client_of.is_complete(answer)) == ("3", True)
    assert File.objects.count() == 1
    final = client_of.append(url, 3, b"", complete=True)
    assert (final.status_code, client_of.is_complete(final)) == (201, True)
    assert File.objects.count() == 1


def test_wrong_offset_is_refused(client_of: Client) -> None:
    url = client_of.create(b"abc", complete=False)["Location"]
    for offset in (0, 2, 4):
        answer = client_of.append(url, offset, b"d", complete=True)
        assert problem(answer) == (409, MISMATCH)
        assert (answer.json()["expected-offset"], answer.json()["provided-offset"]) == (3, offset)
        assert (answer["Upload-Offset"], client_of.is_complete(answer)) == ("3", False)


def test_inconsistent_lengths_are_refused(client_of: Client) -> None:
    assert problem(client_of.create(b"abc", complete=True, HTTP_UPLOAD_LENGTH=4)) == (400, INCONSISTENT)
    assert not UploadSession.objects.unfinished().exists()
    url = client_of.create(b"abc", complete=False, HTTP_UPLOAD_LENGTH=6)["Location"]
    assert problem(client_of.append(url, 3, b"de", complete=True)) == (400, INCONSISTENT)
    assert problem(client_of.append(url, 3, b"de", complete=False, HTTP_UPLOAD_LENGTH=7)) == (400, INCONSISTENT)
    assert client_of.head(url)["Upload-Offset"] == "3"
    assert client_of.append(url, 3, b"def", complete=True).status_code == 201
    assert problem(client_of.append(url, 6, b"more", complete=True)) == (400, INCONSISTENT)
    assert problem(client_of.append(url, 6, b"", complete=False)) == (400, INCONSISTENT)
    again = client_of.append(url, 3, b"def", complete=True)  # A resend after a lost response.
    assert (problem(again), again["Upload-Offset"]) == ((409, MISMATCH), "6")
    assert client_of.is_complete(again) == client_of.is_early


def chunked(data: bytes) -> dict[str, Any]:
    payload: dict[str, Any] = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    return payload | {"wsgi.input": io.BytesIO(data)}


def test_chunked_encoding_follows_content_length_rules(client_of: Client) -> None:
    too_long = client_of.create(b"", complete=True, HTTP_UPLOAD_LENGTH=3, **chunked(b"abcdef"))
    assert problem(too_long) == (400, INCONSISTENT)
    url = client_of.create(b"abc", complete=False)["Location"]
    final = client_of.append(url, 3, b"", complete=True, **chunked(b""))
    assert final.status_code == 201
    again = client_of.append(url, 3, b"", complete=True, **chunked(b""))
    assert (again.status_code, again.json()) == (201, final.json())
    assert problem(client_of.append(url, 3, b"", complete=True, **chunked(b"more"))) == (400, INCONSISTENT)


def test_errors_report_offset_in_early_versions(client_of: Client) -> None:
    url = client_of.create(b"abc", complete=False, HTTP_UPLOAD_LENGTH=9)["Location"]
    answer = client_of.append(url, 3, b"", complete=True, **chunked(b"de"))
    assert problem(answer) == (400, INCONSISTENT)
    assert answer.get("Upload-Offset") == ("5" if client_of.is_early else None)
    assert client_of.head(url)["Upload-Offset"] == "5"


def test_early_versions_refuse_superfluous_upload_headers(client_of: Client) -> None:
    url = client_of.create(b"abc", complete=False)["Location"]
    for method in ("HEAD", "DELETE"):
        payload = client_of.headers(complete=True, HTTP_UPLOAD_OFFSET=3)
        answer = client_of.api.generic(method, url, **payload)
        assert (answer.status_code == 400) == client_of.is_early


def test_creation_with_nonzero_offset_is_refused(client_of: Client) -> None:
    assert client_of.create(b"abc", complete=False, HTTP_UPLOAD_OFFSET=5).status_code == 400
    assert client_of.create(b"abc", complete=False, HTTP_UPLOAD_OFFSET=0).status_code == 201


@pytest.mark.parametrize("flag", ["true", "1", "yes", "", "?1;", "?1;A=1", "?1 ;a", '?1;a="'])
def test_malformed_flag_is_ignored(client_of: Client, flag: str) -> None:
    payload = client_of.headers(complete=None, HTTP_UPLOAD_LENGTH=3)
    answer = client_of.api.generic("POST", "/tus/", b"abc", **payload, HTTP_UPLOAD_COMPLETE=flag)
    assert (answer.status_code, answer.json()["state"]) == (201, "completed")


@pytest.mark.parametrize(
    ("length", "reported"),
    [("6;a=b", "6"), ("06", "6"), ("abc", None), ("-6", None), ("6;", None), ("6;A", None), ("9" * 16, None)],
)
def test_length_is_parsed_as_structured_field(client_of: Client, length: str, reported: str | None) -> None:
    answer = client_of.create(b"abc", complete=False, HTTP_UPLOAD_LENGTH=length)
    assert answer.status_code == 201
    assert client_of.head(answer["Location"]).get("Upload-Length") == reported
    huge = client_of.create(b"abc", complete=False, HTTP_UPLOAD_LENGTH="9" * 15)
    assert huge.status_code == 413


def test_content_type_distinguishes_append_from_tus(client_of: Client) -> None:
    url = client_of.create(b"abc", complete=False)["Location"]
    answer = client_of.api.generic("PATCH", url, b"def", content_type=PARTIAL, HTTP_UPLOAD_OFFSET="3")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


@pytest.mark.usefixtures("not_awaited")
def test_complete_flag_during_scan_follows_draft(client_of: Client, uploads_settings: Any) -> None:
    uploads_settings(DESTINATION="tests.uploads.test_check.Checks", CHECK_WAIT=timedelta(0))
    url = client_of.create(b"", complete=False)["Location"]
    answer = client_of.append(url, 0, b"away", complete=True)
    assert answer.status_code == 202
    for reported in (answer, client_of.head(url)):
        assert client_of.is_complete(reported) == (client_of.version in ("3", "4", "5", "6", "8"))


def test_excess_bytes_end_the_upload(client_of: Client) -> None:
    url = client_of.create(b"abc", complete=False, HTTP_UPLOAD_LENGTH=6)["Location"]
    assert problem(client_of.append(url, 3, b"defg", complete=False)) == (400, INCONSISTENT)
    assert client_of.head(url).status_code == client_of.gone


def test_truncated_chunked_body_is_refused(client_of: Client) -> None:
    answer = client_of.create(b"", complete=True, HTTP_UPLOAD_LENGTH=10, **chunked(b"abc"))
    assert problem(answer) == (400, INCONSISTENT)
    assert not File.objects.exists()
    assert not UploadSession.objects.unfinished().exists()


def test_publish_failure_reports_a_complete_upload(client_of: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_it(*_: Any) -> None:
        raise QuotaExceeded(size=3, free=0, reserved=0)

    url = client_of.create(b"", complete=False)["Location"]
    monkeypatch.setattr("portal.destination.PortalDestination.publish", refuse_it)
    answer = client_of.append(url, 0, b"abc", complete=True)
    assert (answer.status_code, client_of.is_complete(answer)) == (422, True)
    assert client_of.head(url).status_code == 422


@pytest.mark.usefixtures("not_awaited")
def test_file_refused_by_scan_is_complete(client_of: Client, uploads_settings: Any) -> None:
    uploads_settings(DESTINATION="tests.uploads.test_check.Checks", CHECK_WAIT=timedelta(0))
    url = client_of.create(b"", complete=False)["Location"]
    assert client_of.append(url, 0, b"bad", complete=True).status_code == 202
    sessions.check(UploadSession.objects.get())
    answer = client_of.append(url, 3, b"", complete=True)
    assert (answer.status_code, answer.json()["code"], client_of.is_complete(answer)) == (422, "file_refused", True)


def test_unknown_length_obeys_max_file_size(client_of: Client, uploads_settings: Any) -> None:
    uploads_settings(MAX_FILE_SIZE=10)
    created = client_of.create(b"", complete=False)
    assert created["Upload-Limit"].startswith("max-size=10,")
    assert client_of.append(created["Location"], 0, bytes(11), complete=False).status_code == 413


@pytest.mark.parametrize("flag", [None, "1", "?2", "true"])
def test_append_requires_a_valid_complete_flag(latest: Client, flag: str | None) -> None:
    url = latest.create(b"", complete=False)["Location"]
    headers: dict[str, Any] = {"HTTP_UPLOAD_DRAFT_INTEROP_VERSION": "9", "HTTP_UPLOAD_OFFSET": "0"}
    if flag is not None:
        headers["HTTP_UPLOAD_COMPLETE"] = flag
    assert latest.api.generic("PATCH", url, b"abc", content_type=PARTIAL, **headers).status_code == 400
    assert latest.head(url)["Upload-Offset"] == "0"


def test_missing_flag_means_last_in_early_versions(client_of: Client) -> None:
    url = client_of.create(b"abc", complete=False)["Location"]
    payload = client_of.headers(complete=None, HTTP_UPLOAD_OFFSET=3)
    answer = client_of.api.generic("PATCH", url, b"def", content_type=PARTIAL, **payload)
    assert answer.status_code == (201 if client_of.is_early else 400)
    if client_of.is_early:
        assert client_of.content(answer.json()["url"]) == b"abcdef"


def test_versions_from_6_require_partial_type(client_of: Client) -> None:
    url = client_of.create(b"", complete=False)["Location"]
    answer = client_of.append(url, 0, b"abc", complete=False, content_type="application/octet-stream")
    assert answer.status_code == (201 if client_of.version in ("3", "4", "5") else 415)
    assert answer.get("Accept-Patch") == (None if answer.status_code == 201 else PARTIAL)


def test_upload_limit_header_reports_limits(client_of: Client, uploads_settings: Any) -> None:
    uploads_settings(MAX_FILE_SIZE=1000)
    reported = client_of.api.options("/tus/")
    assert (reported.status_code, reported["Upload-Limit"]) == (200, "max-size=1000, min-size=0")
    answer = client_of.create(b"", complete=False, HTTP_UPLOAD_LENGTH=1001)
    assert answer.status_code == 413
    assert "max-size=1000" in answer["Upload-Limit"]
    created = client_of.create(b"", complete=False)
    lifetime = "expires" if client_of.is_early else "max-age"
    assert re.fullmatch(rf"max-size=1000, min-size=0, {lifetime}=\d+", created["Upload-Limit"])


def test_delete_cancels_the_upload(client_of: Client) -> None:
    url = client_of.create(b"abc", complete=False)["Location"]
    assert client_of.api.delete(url, **client_of.headers(complete=None)).status_code == 204
    assert client_of.head(url).status_code == client_of.gone
    assert client_of.api.delete(url, **client_of.headers(complete=None)).status_code == client_of.gone


def test_query_without_version_reports_all_headers(latest: Client) -> None:
    url = latest.create(b"abc", complete=False, HTTP_UPLOAD_LENGTH=6)["Location"]
    for answer in (latest.api.head(url), latest.api.get(url)):
        assert (answer["Upload-Offset"], answer["Upload-Length"], answer["Upload-Complete"]) == ("3", "6", "?0")
    assert latest.api.get(url).json()["offset"] == 3


def test_tus_header_overrides_added_draft_headers(latest: Client) -> None:
    headers: dict[str, Any] = {"HTTP_TUS_RESUMABLE": "1.0.0", "HTTP_UPLOAD_COMPLETE": "?1"}
    headers["HTTP_UPLOAD_DRAFT_INTEROP_VERSION"] = "6"
    created = latest.api.post("/tus/", **headers, HTTP_UPLOAD_LENGTH="6")
    answer = latest.api.generic(
        "PATCH", created["Location"], b"abc", content_type="application/offset+octet-stream",
        HTTP_UPLOAD_OFFSET="0", **headers,
    )  # fmt: skip
    assert (answer.status_code, answer["Upload-Offset"], "Upload-Complete" in answer) == (204, "3", False)


def test_unknown_version_uploads_without_resumption(api: APIClient, root: Folder, file_store: Store) -> None:
    client = Client(api, "99")
    answer = client.create(b"abc", complete=True)
    assert answer.status_code == 201
    assert "Upload-Draft-Interop-Version" not in answer
    assert client.content(answer.json()["url"]) == b"abc"


def test_truncated_creation_without_104_leaves_nothing(latest: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: Any, **__: Any) -> Iterator[bytes]:
        yield b"abc"
        raise IncompleteBody(received=3, declared=6)

    for module in ("http.requests", "protocols.resumable.variant"):
        monkeypatch.setattr(f"uploads._internal.{module}.read_blocks", cut)
    for complete in (True, False):
        assert latest.create(b"abcdef", complete=complete).status_code == 400
    assert not UploadSession.objects.unfinished().exists()


def test_digest_mismatch_keeps_no_bytes(client_of: Client) -> None:
    def digest(data: bytes) -> dict[str, str]:
        value = base64.b64encode(hashlib.sha256(data).digest()).decode()
        return {"HTTP_CONTENT_DIGEST": f"sha-256=:{value}:"}

    url = client_of.create(b"", complete=False)["Location"]
    assert client_of.append(url, 0, b"abc", complete=True, **digest(b"other")).status_code == 400
    assert client_of.head(url)["Upload-Offset"] == "0"
    assert client_of.append(url, 0, b"abc", complete=True, **digest(b"abc")).status_code == 201


# Requests without headers of either protocol


def test_url_names_the_file(api: APIClient, root: Folder, file_store: Store) -> None:
    """``curl -T report.txt https://portal/tus/`` adds the name to the URL."""
    answer = api.generic("PUT", "/tus/report.txt", b"abc")
    assert (answer.status_code, answer.json()["file"]["title"]) == (201, "report.txt")
    assert b"".join(api.get(answer.json()["url"]).streaming_content) == b"abc"
    for headers in ({"HTTP_UPLOAD_COMPLETE": "?0"}, {"HTTP_TUS_RESUMABLE": "1.0.0"}):
        assert api.generic("PUT", "/tus/part.txt", b"abc", **headers).status_code == 405
    assert File.objects.count() == 1


@pytest.mark.parametrize(("data", "status"), [(b"abc", 201), (b"other", 400)])
def test_digest_of_the_file_is_verified(
    api: APIClient, root: Folder, file_store: Store, data: bytes, status: int
) -> None:
    value = base64.b64encode(hashlib.sha256(data).digest()).decode()
    answer = api.generic("PUT", "/tus/report.txt", b"abc", HTTP_REPR_DIGEST=f"sha-256=:{value}:")
    assert (answer.status_code, File.objects.count()) == (status, int(status == 201))


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_plain_body_uploads_a_file(api: APIClient, root: Folder, file_store: Store, method: str) -> None:
    answer = api.generic(method, "/tus/?name=b.png", b"abc", content_type="application/octet-stream")
    assert answer.status_code == 201
    reported = answer.json()
    assert (reported["state"], reported["file"]["title"], reported["file"]["size"]) == ("completed", "b.png", 3)
    assert b"".join(api.get(reported["url"]).streaming_content) == b"abc"


def test_plain_form_uploads_a_file(api: APIClient, root: Folder, file_store: Store) -> None:
    answer = api.post("/tus/", {"file": ContentFile(b"abc", "größe.txt")}, format="multipart")
    assert (answer.status_code, answer.json()["file"]["title"]) == (201, "größe.txt")


def test_form_upload_ignores_added_draft_headers(
    api: APIClient, root: Folder, file_store: Store, uploads_settings: Any, wire: Any
) -> None:
    uploads_settings(INTERIM_RESPONSES=True)
    payload = Client(api, "8").headers(complete=True) | {"gunicorn.socket": wire[0], "SERVER_PROTOCOL": "HTTP/1.1"}
    answer = api.post("/tus/", {"file": ContentFile(b"abc", "a.txt")}, format="multipart", **payload)
    assert (answer.status_code, answer.json()["file"]["title"]) == (201, "a.txt")
    assert b"".join(api.get(answer.json()["url"]).streaming_content) == b"abc"


def test_unnamed_file_is_titled_by_type(api: APIClient, root: Folder, file_store: Store) -> None:
    answer = api.generic("POST", "/tus/", b"abc", content_type="image/png")
    assert answer.json()["file"]["title"] == "upload.png"


# Interim responses with status 104


@pytest.fixture
def wire() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.mark.parametrize("version", [*VERSIONS, "99"])
@pytest.mark.parametrize("allowed", [True, False])
def test_104_goes_to_known_versions_if_enabled(
    api: APIClient, root: Folder, file_store: Store, uploads_settings: Any, wire: Any, version: str, *, allowed: bool
) -> None:
    uploads_settings(INTERIM_RESPONSES=allowed)
    ours, theirs = wire
    theirs.setblocking(False)
    server: dict[str, Any] = {"gunicorn.socket": ours, "SERVER_PROTOCOL": "HTTP/1.1"}
    answer = api.generic("POST", "/tus/", b"abc", **Client(api, version).headers(complete=True), **server)
    assert answer.status_code == 201
    if allowed and version in VERSIONS[:-1]:
        status, *lines = theirs.recv(4096).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        assert status == "HTTP/1.1 104 Upload Resumption Supported"
        assert headers["Upload-Draft-Interop-Version"] == version
        assert api.head(headers["Location"])["Upload-Offset"] == "3"
    else:
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
