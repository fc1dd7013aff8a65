"""Parts that clients send to the store by signed URLs."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from portal.models import File, Folder
from tests.data import MIB, some_bytes
from tests.proxy import Proxy
from uploads._internal import doctor, sessions
from uploads._internal.direct_probe import cors_rule
from uploads._internal.stores.base import Store
from uploads.models import State, UploadSession

pytestmark = [pytest.mark.django_db]
P = 8 * MIB
DATA = some_bytes(2 * P + 7, seed=27)


def crc_of(data: bytes) -> str:
    return f"{zlib.crc32(data):08x}"


class Direct:
    """A client that sends parts to the URLs it gets."""

    def __init__(self, api: APIClient) -> None:
        self.api = api

    def begin(self, data: bytes) -> str:
        answer = self.api.post("/tus/", HTTP_TUS_RESUMABLE="1.0.0", HTTP_UPLOAD_LENGTH=str(len(data)))
        assert answer.status_code == 201, answer.content
        return str(answer["Upload-Parts"])

    def sign(self, parts: str, data: bytes, *numbers: int, checked: bool = True) -> Any:
        wanted = [
            {"number": number} | ({"crc32": crc_of(part_of(data, number))} if checked else {}) for number in numbers
        ]
        return self.api.post(parts, {"parts": wanted}, format="json")

    def put(self, signed: dict[str, Any], data: bytes) -> Any:
        if urlsplit(signed["url"]).hostname == "testserver":
            return APIClient().generic("PUT", signed["url"], data, content_type="application/octet-stream")
        return requests.put(signed["url"], data, headers=signed["headers"], timeout=60)

    def send(self, parts: str, data: bytes, *numbers: int, checked: bool = True) -> None:
        answer = self.sign(parts, data, *numbers, checked=checked)
        assert answer.status_code == 200, answer.content
        for signed in answer.json()["parts"]:
            sent = self.put(signed, part_of(data, signed["number"]))
            assert sent.status_code == 200, sent.content

    def complete(self, parts: str) -> Any:
        return self.api.post(parts.removesuffix("parts") + "complete")

    def stored(self, parts: str) -> list[int]:
        return [part["number"] for part in self.api.get(parts).json()["parts"]]

    def content(self, answer: Any) -> bytes:
        return b"".join(self.api.get(answer.json()["url"]).streaming_content)


def part_of(data: bytes, number: int) -> bytes:
    return data[(number - 1) * P : number * P]


@pytest.fixture
def direct(api: APIClient, root: Folder, uploads_settings: Callable[..., None]) -> Direct:
    uploads_settings(DIRECT=True)
    return Direct(api)


@pytest.mark.parametrize("data", [b"a", DATA], ids=["one-byte", "three-parts"])
@pytest.mark.parametrize("checked", [True, False], ids=["checked", "unchecked"])
def test_parts_form_the_file(store: Store, direct: Direct, data: bytes, *, checked: bool) -> None:
    parts = direct.begin(data)
    count = -(-len(data) // P)
    direct.send(parts, data, *reversed(range(1, count + 1)), checked=checked)
    assert direct.stored(parts) == [*range(1, count + 1)]
    answer = direct.complete(parts)
    assert answer.status_code == 200, answer.content
    assert direct.content(answer) == data
    assert answer.json()["crc32"] in (f"{zlib.crc32(data):08x}", None if not checked else "")
    assert direct.complete(parts).json() == answer.json()


def test_missing_parts_are_named(store: Store, direct: Direct) -> None:
    parts = direct.begin(DATA)
    direct.send(parts, DATA, 1, 3)
    answer = direct.complete(parts)
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_incomplete")
    direct.send(parts, DATA, 2)
    assert direct.content(direct.complete(parts)) == DATA


@pytest.mark.parametrize("sent", [DATA[:P] + b"x", DATA[: P - 1], b"x" * P], ids=["longer", "shorter", "other-bytes"])
def test_url_takes_only_the_signed_bytes(store: Store, direct: Direct, sent: bytes) -> None:
    parts = direct.begin(DATA)
    (signed,) = direct.sign(parts, DATA, 1).json()["parts"]
    assert direct.put(signed, sent).status_code in (400, 403, 409)
    assert direct.put(signed | {"headers": {}}, b"x" * P).status_code in (400, 403, 409)
    assert direct.stored(parts) == []
    assert direct.put(signed, DATA[:P]).status_code == 200


def test_part_is_signed_for_one_content(s3_store: Store, direct: Direct) -> None:
    parts = direct.begin(DATA)
    direct.send(parts, DATA, 1)
    answer = direct.sign(parts, b"x" * len(DATA), 1)
    assert (answer.status_code, answer.json()["code"]) == (409, "part_signed")
    assert direct.sign(parts, DATA, 2, checked=False).status_code == 400


def test_signed_url_expires(store: Store, direct: Direct, uploads_settings: Callable[..., None]) -> None:
    uploads_settings(DIRECT=True, DIRECT_URL_LIFETIME=timedelta(seconds=1))
    (signed,) = direct.sign(direct.begin(b"a"), b"a", 1).json()["parts"]
    while (answer := direct.put(signed, b"a")).status_code == 200:
        assert timezone.now() < datetime.fromisoformat(signed["expires"]) + timedelta(seconds=5)
    assert answer.status_code in (403, 404)


@pytest.mark.parametrize("end", ["complete", "abort"])
def test_late_parts_change_nothing(
    s3_store: Store, direct: Direct, end: str, s3_uploads: Callable[[], set[str]], s3_keys: Callable[[], set[str]]
) -> None:
    parts = direct.begin(DATA)
    direct.send(parts, DATA, 1, 2, 3)
    late = direct.sign(parts, DATA, 1).json()["parts"][0]
    if end == "complete":
        answer = direct.complete(parts)
    else:
        direct.api.delete(parts.removesuffix("/parts"), HTTP_TUS_RESUMABLE="1.0.0")
    assert direct.put(late, DATA[:P]).status_code == 404
    if end == "complete":
        assert direct.content(answer) == DATA
    else:
        assert (s3_uploads(), s3_keys()) == (set(), set())


def test_aborted_upload_is_aborted_again_later(
    s3_store: Store, direct: Direct, uploads_settings: Callable[..., None]
) -> None:
    """A part on its way may arrive after the first abort, until its URL has expired."""
    uploads_settings(DIRECT=True, DIRECT_URL_LIFETIME=timedelta(seconds=1))
    direct.send(direct.begin(b"a"), b"a", 1)
    session, ends = sessions.abort(UploadSession.objects.get()), timezone.now() + timedelta(seconds=10)
    assert not session.storage_released
    while not session.storage_released:
        assert timezone.now() < ends
        sessions.expire_stale(batch_size=10)
        session.refresh_from_db()


@pytest.mark.parametrize(("numbers", "state"), [((1, 2, 3), State.COMPLETED), ((1, 3), State.EXPIRED)])
def test_overdue_session_is_completed_if_whole(
    s3_store: Store, direct: Direct, numbers: tuple[int, ...], state: State, s3_uploads: Callable[[], set[str]]
) -> None:
    parts = direct.begin(DATA)
    direct.send(parts, DATA, *numbers)
    UploadSession.objects.update(expires_at=timezone.now() - timedelta(minutes=1))
    sessions.expire_stale(batch_size=10)
    assert UploadSession.objects.get().state == state
    assert File.objects.count() == (state == State.COMPLETED)
    assert s3_uploads() == set()


def test_overdue_session_waits_for_the_store(proxy: Proxy, direct: Direct) -> None:
    """The task ends although a whole batch has to be tried again."""
    direct.sign(direct.begin(DATA), DATA, 1)
    proxy.faults.down = True
    for state in (State.OPEN, State.EXPIRED):
        UploadSession.objects.update(expires_at=timezone.now() - timedelta(minutes=1))
        sessions.expire_stale(batch_size=1)
        assert UploadSession.objects.get().state == state
        proxy.heal()


def test_foreign_sessions_are_not_found(store: Store, direct: Direct, other_user: User) -> None:
    parts = direct.begin(DATA)
    (signed,) = direct.sign(parts, DATA, 1).json()["parts"]
    direct.api.force_authenticate(other_user)
    assert direct.sign(parts, DATA, 1).status_code == 404
    assert direct.api.get(parts).status_code == 404
    assert direct.complete(parts).status_code == 404
    if "testserver" in signed["url"]:
        elsewhere = signed["url"].replace("/1?", "/2?")
        assert direct.put({"url": elsewhere, "headers": {}}, DATA[:P]).status_code == 404


def test_direct_parts_need_the_setting(
    store: Store, api: APIClient, root: Folder, uploads_settings: Callable[..., None]
) -> None:
    answer = api.post("/tus/", HTTP_TUS_RESUMABLE="1.0.0", HTTP_UPLOAD_LENGTH="3")
    assert "Upload-Parts" not in answer
    path = urlsplit(answer["Location"]).path + "/parts"
    refused = api.post(path, {"parts": [{"number": 1}]}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (409, "direct_unsupported")


def test_customer_keys_keep_the_way_through_the_portal(
    s3_store: Any, direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client would need the secret key to send a part to the store."""
    secret = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    monkeypatch.setattr(s3_store.storage, "object_parameters", secret)
    parts = direct.begin(DATA)
    answer = direct.sign(parts, DATA, 1)
    assert (answer.status_code, answer.json()["code"]) == (409, "direct_unsupported")
    assert direct.api.head(parts.removesuffix("/parts"), HTTP_TUS_RESUMABLE="1.0.0").status_code == 200


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"parts": []},
        {"parts": [{"number": "x"}]},
        {"parts": [{"number": 9}]},
        {"parts": [{"number": 1, "crc32": "x"}]},
    ],
    ids=str,
)
def test_malformed_requests_are_refused(store: Store, direct: Direct, payload: Any) -> None:
    assert direct.api.post(direct.begin(DATA), payload, format="json").status_code == 400


def test_tus_requests_conflict_with_direct_parts(s3_store: Store, direct: Direct) -> None:
    parts = direct.begin(DATA)
    direct.send(parts, DATA, 1)
    answer = direct.api.head(parts.removesuffix("/parts"), HTTP_TUS_RESUMABLE="1.0.0")
    assert answer.status_code == 409
    assert sessions.audit().lost == []


@pytest.fixture
def foreign_rule(s3_store: Any) -> Iterator[None]:
    """Let pages of another origin send parts; without any rule, SeaweedFS allows all."""
    bucket = s3_store.storage.bucket_name
    rules: Any = {"CORSRules": [cors_rule("http://elsewhere.example")]}
    s3_store.client.put_bucket_cors(Bucket=bucket, CORSConfiguration=rules)
    yield
    s3_store.client.delete_bucket_cors(Bucket=bucket)


@pytest.mark.usefixtures("foreign_rule")
def test_doctor_names_the_missing_cors_rule(direct: Direct, s3_uploads: Callable[[], set[str]]) -> None:
    def problems() -> list[str]:
        found = doctor.examine("http://portal.example")
        return [finding.text for finding in found if finding.about == "direct" and not finding.ok]

    (problem,) = problems()
    assert '"AllowedOrigins": ["http://portal.example"]' in problem
    out = io.StringIO()
    call_command("uploads_cors", "http://portal.example", apply=True, stdout=out)
    assert "added" in out.getvalue()
    assert problems() == []
    call_command("uploads_cors", "http://portal.example", apply=True, stdout=out)
    assert "nothing to do" in out.getvalue()
    assert s3_uploads() == set()


def test_signing_shows_the_progress(s3_store: Store, direct: Direct) -> None:
    """The store is asked from time to time, because no byte passes the portal."""
    parts = direct.begin(DATA)
    direct.send(parts, DATA, 1, 2)
    UploadSession.objects.update(updated_at=timezone.now() - timedelta(minutes=1))
    direct.sign(parts, DATA, 3)
    assert UploadSession.objects.get().bytes_stored == 2 * P


@pytest.mark.parametrize(("checked", "text"), [(True, "straight to the store"), (False, "without checksums")])
def test_admin_names_the_way_of_the_bytes(
    s3_store: Store, direct: Direct, admin_client: Client, text: str, *, checked: bool
) -> None:
    direct.send(direct.begin(DATA), DATA, 1, checked=checked)
    address = reverse("admin:upload_sessions_uploadsession_change", args=[UploadSession.objects.get().pk])
    page = admin_client.get(address).content.decode()
    assert text in page
    assert "X-Amz" not in page


@pytest.mark.django_db(transaction=True)
def test_documented_program_uploads_a_file(
    s3_store: Store, direct: Direct, live_server: Any, user: User, tmp_path: Path
) -> None:
    page = Path(__file__).parents[2] / "docs" / "direct.md"
    (program,) = re.findall("```python\nimport base64\n(.*?)```", page.read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "program"}
    exec(f"import base64\n{program}", names)  # noqa: S102 - the page's own code
    (tmp_path / "film.bin").write_bytes(DATA)
    # The threads of a server share one connection to SQLite in memory, and so their transactions.
    connections = 1 if connection.vendor == "sqlite" else 4
    token = Token.objects.create(user=user).key
    url = names["upload"](live_server.url, token, tmp_path / "film.bin", connections)
    assert url.startswith(live_server.url)
    assert File.objects.get().title == "film.bin"
    assert UploadSession.objects.get().crc32 == zlib.crc32(DATA)
