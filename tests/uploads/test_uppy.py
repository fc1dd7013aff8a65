"""Requests of Uppy's S3 plugin to its Companion."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.test import Client as Browser
from rest_framework.test import APIClient

from portal.models import File, Folder
from tests.data import MIB, some_bytes
from uploads._internal.stores.base import Store
from uploads.models import State, UploadSession

pytestmark = [pytest.mark.django_db]


class Plugin:
    """A client that sends the requests of the plugin."""

    def __init__(self, api: APIClient) -> None:
        self.api = api

    def begin(self, **payload: Any) -> str:
        payload = {"filename": "a.bin", "type": "application/x-a", "metadata": {"relativePath": None}} | payload
        answer = self.api.post("/uppy/s3/multipart", payload, format="json")
        assert answer.status_code == 200, answer.content
        return str(answer.json()["uploadId"])

    def put(self, upload: str, number: int, data: bytes) -> Any:
        signed = self.api.get(f"/uppy/s3/multipart/{upload}/{number}?key=a.bin").json()
        return self.api.generic("PUT", signed["url"], data, content_type="")

    def listed(self, upload: str) -> Any:
        return self.api.get(f"/uppy/s3/multipart/{upload}?key=a.bin").json()

    def complete(self, upload: str, numbers: list[Any], etags: dict[int, str] | None = None) -> Any:
        known = etags or {row["PartNumber"]: row["ETag"].strip('"') for row in self.listed(upload)}
        parts = [{"PartNumber": number, "ETag": known.get(number, "x")} for number in numbers]
        return self.api.post(f"/uppy/s3/multipart/{upload}/complete?key=a.bin", {"parts": parts}, format="json")

    def content(self, answer: Any) -> bytes:
        return b"".join(self.api.get(answer.json()["location"]).streaming_content)


@pytest.fixture
def plugin(api: APIClient, root: Folder) -> Plugin:
    return Plugin(api)


@pytest.mark.parametrize("part", [5 * MIB, 12 * MIB], ids=["default-part", "larger-part"])
@pytest.mark.parametrize("reported", [True, False], ids=["size-told", "size-unknown"])
def test_parts_form_the_file(store: Store, plugin: Plugin, part: int, *, reported: bool) -> None:
    data = some_bytes(27 * MIB + 7)
    upload = plugin.begin(metadata={"size": len(data)} if reported else {})
    etags = []
    for number, start in enumerate(range(0, len(data), part), 1):
        answer = plugin.put(upload, number, data[start : start + part])
        assert answer.status_code == 200
        etags.append(answer["ETag"])
    listed = plugin.listed(upload)
    assert [(row["PartNumber"], row["ETag"]) for row in listed] == list(enumerate(etags, 1))
    assert sum(row["Size"] for row in listed) == len(data)
    answer = plugin.complete(upload, list(range(1, len(etags) + 1)))
    assert answer.status_code == 200
    assert plugin.content(answer) == data
    assert plugin.complete(upload, [1]).json() == answer.json()
    assert (File.objects.get().content_type, File.objects.get().title) == ("application/x-a", "a.bin")


@pytest.mark.parametrize("part", [5 * MIB, 6 * MIB])
def test_parts_go_straight_to_the_store(s3_store: Store, plugin: Plugin, uploads_settings: Any, part: int) -> None:
    uploads_settings(DIRECT=True)
    data = some_bytes(12 * MIB + 7)
    upload = plugin.begin(metadata={"size": len(data), "partSize": part})
    for number, start in enumerate(range(0, len(data), part), 1):
        url = plugin.api.get(f"/uppy/s3/multipart/{upload}/{number}?key=a.bin").json()["url"]
        assert "testserver" not in url
        answer = requests.put(url, data[start : start + part], timeout=60)
        assert (answer.status_code, "ETag" in answer.headers) == (200, True)
    assert sum(row["Size"] for row in plugin.listed(upload)) == len(data)
    assert plugin.complete(upload, [1, 2, 3], {1: "x", 2: "x", 3: "x"}).json()["code"] == "part_changed"
    answer = plugin.complete(upload, [1, 2, 3])
    assert answer.status_code == 200, answer.content
    assert plugin.content(answer) == data


@pytest.mark.parametrize(
    ("given", "parameters"),
    [({}, {}), ({"partSize": 5 * MIB}, {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32})],
    ids=["part-size-unknown", "customer-keys"],
)
def test_parts_that_cannot_be_signed_go_through_the_portal(
    s3_store: Any, plugin: Plugin, uploads_settings: Any, monkeypatch: Any, given: Any, parameters: Any
) -> None:
    uploads_settings(DIRECT=True)
    monkeypatch.setattr(s3_store.storage, "object_parameters", parameters)
    upload = plugin.begin(metadata={"size": 12 * MIB} | given)
    assert "testserver" in plugin.api.get(f"/uppy/s3/multipart/{upload}/1?key=a.bin").json()["url"]


def test_malformed_part_size_is_refused(s3_store: Store, plugin: Plugin, uploads_settings: Any) -> None:
    answer = plugin.api.post("/uppy/s3/multipart", {"filename": "a", "metadata": {"partSize": "x"}}, format="json")
    assert answer.status_code == 400
    uploads_settings(DIRECT=True)
    headers = {"HTTP_UPLOAD_LENGTH": "3", "HTTP_UPLOAD_METADATA": "partSize eA=="}  # x, by another protocol
    place = plugin.api.post("/tus/", HTTP_TUS_RESUMABLE="1.0.0", **headers)["Location"]
    assert "testserver" in plugin.api.get(f"/uppy/s3/multipart/{place.rsplit('/')[-1]}/1").json()["url"]


def test_resent_part_replaces_the_first(file_store: Store, plugin: Plugin) -> None:
    upload = plugin.begin()
    first = plugin.put(upload, 1, b"abc")
    assert plugin.put(upload, 1, b"abc")["ETag"] == first["ETag"]
    assert plugin.put(upload, 1, b"abd")["ETag"] != first["ETag"]
    assert plugin.content(plugin.complete(upload, [1])) == b"abd"


def test_missing_part_prevents_completion(file_store: Store, plugin: Plugin) -> None:
    upload = plugin.begin()
    plugin.put(upload, 1, some_bytes(5 * MIB))
    assert plugin.complete(upload, [1, 2]).status_code == 409
    assert UploadSession.objects.get().state == State.OPEN


def test_complete_must_name_all_parts(file_store: Store, plugin: Plugin) -> None:
    upload = plugin.begin()
    for number, data in ((1, some_bytes(5 * MIB)), (2, b"abc")):
        plugin.put(upload, number, data)
    assert plugin.complete(upload, [1]).json()["code"] == "upload_incomplete"
    assert plugin.complete(upload, [1, 2], {1: "nonsense"}).json()["code"] == "part_changed"
    assert plugin.complete(upload, [1, 2]).status_code == 200


@pytest.mark.parametrize("number", [0, 10_001])
def test_impossible_part_is_refused(file_store: Store, plugin: Plugin, number: int) -> None:
    url = f"/uppy/s3/multipart/{plugin.begin()}/{number}"
    for answer in (plugin.api.get(url), plugin.api.generic("PUT", url, b"abc")):
        assert (answer.status_code, answer.json()["code"]) == (400, "chunk_number_invalid")


def test_empty_part_is_refused(file_store: Store, plugin: Plugin) -> None:
    upload = plugin.begin()
    assert (plugin.put(upload, 1, b"").status_code, plugin.put(upload, 1, b"a").status_code) == (400, 200)


def test_metadata_unfit_for_headers_is_sanitized(file_store: Store, plugin: Plugin) -> None:
    payload = r'{"filename": "a", "metadata": {"a\r\nX: 1": "x", "größe": "y", "note": "\ud800"}}'
    answer = plugin.api.generic("POST", "/uppy/s3/multipart", payload, content_type="application/json")
    upload = answer.json()["uploadId"]
    reported = plugin.api.head(f"/tus/{upload}", HTTP_TUS_RESUMABLE="1.0.0")
    assert (reported.status_code, reported["Upload-Metadata"]) == (200, "note Pw==")


def test_delete_aborts_the_upload(file_store: Store, plugin: Plugin) -> None:
    upload = plugin.begin()
    plugin.put(upload, 1, b"abc")
    assert plugin.api.delete(f"/uppy/s3/multipart/{upload}?key=a.bin").status_code == 200
    assert UploadSession.objects.get().state == State.ABORTED
    assert plugin.api.generic("PUT", f"/uppy/s3/multipart/{upload}/2", b"abc").status_code == 410


@pytest.mark.parametrize("data", [b"", b"abc"], ids=["empty", "small"])
def test_small_file_is_sent_as_form(file_store: Store, plugin: Plugin, data: bytes) -> None:
    signed = plugin.api.get("/uppy/s3/params?filename=a.txt&type=text/plain&metadata[relativePath]=x/a.txt").json()
    fields = {**signed["fields"], "file": ContentFile(data, "blob")}
    answer = plugin.api.post(signed["url"], fields, format="multipart")
    assert answer.status_code == 201
    assert plugin.content(answer) == data
    again = plugin.api.post(signed["url"], fields, format="multipart")
    assert (again.status_code, again["Location"]) == (201, answer["Location"])
    location = plugin.api.get(f"{signed['url'].partition('?')[0]}/{signed['fields']['key']}")["Location"]
    assert location == answer["Location"]
    assert [File.objects.get().title, File.objects.get().folder.title] == ["a.txt", "x"]


@pytest.mark.parametrize(
    "payload",
    [[], "text", {"metadata": "x"}, {"metadata": {"size": "much"}}, {"filename": "..", "metadata": {}}],
    ids=str,
)
def test_malformed_requests_are_refused(file_store: Store, plugin: Plugin, payload: Any) -> None:
    assert plugin.api.post("/uppy/s3/multipart", payload, format="json").status_code == 400
    upload = plugin.begin()
    for number in ("x", 0, 10**12, 1.5, None):
        assert plugin.complete(upload, [number]).status_code == 400


def test_upload_is_private_to_its_owner(file_store: Store, plugin: Plugin, other_user: User) -> None:
    upload = plugin.begin()
    url = plugin.api.get("/uppy/s3/params?filename=a.txt").json()["url"]
    plugin.api.force_authenticate(other_user)
    assert plugin.api.get(f"/uppy/s3/multipart/{upload}").status_code == 404
    assert plugin.api.generic("PUT", f"/uppy/s3/multipart/{upload}/1", b"x").status_code == 404
    assert plugin.api.post(url, {"file": ContentFile(b"a", "a")}, format="multipart").status_code == 404


def test_csrf_token_is_required_only_where_forgeable(file_store: Store, user: User, root: Folder) -> None:
    browser = Browser(enforce_csrf_checks=True)
    browser.force_login(user)
    begun = browser.post("/uppy/s3/multipart", {"filename": "a"}, content_type="application/json")
    assert begun.status_code == 200
    part = f"/uppy/s3/multipart/{begun.json()['uploadId']}/1"
    assert browser.generic("PUT", part, b"abc").status_code == 200
    forged = browser.post("/uppy/s3/multipart", '{"filename": "a"}', content_type="text/plain")
    assert forged.status_code == 403
    assert browser.post("/uppy/s3/file", {"file": ContentFile(b"a", "a")}).status_code == 403
    signed = browser.get("/uppy/s3/params?filename=a.txt").json()
    assert browser.post(signed["url"], {"file": ContentFile(b"a", "a")}).status_code == 201
