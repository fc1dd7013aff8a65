"""Test portals with other clocks, keys, permissions, throttles and middleware."""

from __future__ import annotations

import dataclasses
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.http import Http404
from rest_framework.authentication import BaseAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission, DjangoModelPermissionsOrAnonReadOnly
from rest_framework.settings import api_settings
from rest_framework.test import APIClient
from rest_framework.throttling import UserRateThrottle

from portal.destination import PortalDestination
from portal.models import File as PortalFile
from portal.models import Folder as PortalFolder
from tests.data import MIB
from tests.helpers import Chunk, Uploader, chunk_of
from uploads._internal import sessions
from uploads._internal.http.slots import RequestSlot
from uploads._internal.owners import key_of
from uploads._internal.stores.base import Store
from uploads.destinations import Destination, Folder, PublishedFile
from uploads.models import NamingKey, State, UploadSession

Change = Callable[..., None]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_chunks")]


def error_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["type"]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_sessions_work_without_time_zones(file_store: Store, uploader: Uploader, settings: Any, zone: str) -> None:
    settings.TIME_ZONE, settings.USE_TZ = zone, False
    session = uploader.create(4, createOn="2026-01-02T03:04:05Z")
    sessions.expire_stale(batch_size=10)
    assert uploader.send(session, b"ab").status_code == 200
    UploadSession.objects.update(lease_until=datetime.now() + timedelta(seconds=60))  # noqa: DTZ005
    assert error_of(uploader.send(session, b"cd")) == (423, "session_busy")
    UploadSession.objects.update(lease_until=datetime.now() - timedelta(seconds=60))  # noqa: DTZ005
    assert uploader.send(session, b"cd").status_code == 201
    assert sessions.audit().lost == []
    late = uploader.create(4)
    UploadSession.objects.filter(pk=late["id"]).update(expires_at=datetime.now() - timedelta(seconds=60))  # noqa: DTZ005
    assert sessions.expire_stale(batch_size=10) == 1


def test_retry_after_matches_the_lease(file_store: Store, uploader: Uploader, uploads_settings: Change) -> None:
    uploads_settings(LEASE_DURATION=timedelta(seconds=40))
    session = UploadSession.objects.get(pk=uploader.create(4)["id"])

    def meanwhile() -> Any:
        yield b"ab"
        answer = uploader.send({"location": f"/ChunkedUploader.ashx?uid={session.pk.hex}"}, b"abcd")
        assert error_of(answer) == (423, "session_busy")
        assert 30 < int(answer["Retry-After"]) <= 40
        yield b"cd"

    assert sessions.receive(session, Chunk(meanwhile())).state == State.COMPLETED


class Keyed(Destination):
    """Destination whose keys are UUIDs."""

    key = uuid.uuid4()

    def folder(self, user: Any, folder_id: str) -> Folder:
        if folder_id == "nothing":
            raise Http404
        return Folder(self.key, [self.key])  # type: ignore[arg-type,list-item]

    def publish(self, session: UploadSession) -> PublishedFile:
        assert session.folder == str(self.key)
        details = {"id": self.key, "made": datetime(2026, 1, 2, 3)}  # noqa: DTZ001
        return PublishedFile(self.key, self.key, "a", details=details)  # type: ignore[arg-type]


def test_keys_may_be_uuids(file_store: Store, api: APIClient, uploads_settings: Change) -> None:
    uploads_settings(DESTINATION=f"{__name__}.Keyed")
    uploader = Uploader(api, "any")
    session = uploader.create(2)
    assert session["path"] == [str(Keyed.key)]
    finished = uploader.send(session, b"ab")
    assert finished.status_code == 201
    assert [finished.json()["data"][name] for name in ("id", "folderId")] == [str(Keyed.key)] * 2


def test_portal_404_is_reported_as_not_found(file_store: Store, api: APIClient, uploads_settings: Change) -> None:
    uploads_settings(DESTINATION=f"{__name__}.Keyed")
    answer = api.post("/api/2.0/files/nothing/upload/create_session", {"FileName": "a", "FileSize": 1}, format="json")
    assert error_of(answer) == (404, "not_found")


class NeedsSecondFactor(BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return bool(request.user.is_staff)


def test_default_permission_classes_apply_to_uploads(
    file_store: Store, uploader: Uploader, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = uploader.create(2)
    monkeypatch.setattr(api_settings, "DEFAULT_PERMISSION_CLASSES", [NeedsSecondFactor])
    assert uploader.send(session, b"ab").status_code == 403
    assert uploader.api.get("/api/2.0/files/settings").status_code == 200
    user.is_staff = True
    uploader.api.force_authenticate(user)
    assert uploader.send(session, b"ab").status_code == 201


def test_model_permissions_are_ignored_and_replaceable(
    file_store: Store, uploader: Uploader, uploads_settings: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = uploader.create(2)
    monkeypatch.setattr(api_settings, "DEFAULT_PERMISSION_CLASSES", [DjangoModelPermissionsOrAnonReadOnly])
    assert uploader.send(session, b"a").status_code == 200
    monkeypatch.setattr(api_settings, "DEFAULT_PERMISSION_CLASSES", [NeedsSecondFactor])
    uploads_settings(PERMISSION_CLASSES=[])
    assert uploader.send(session, b"b").status_code == 201
    uploads_settings(PERMISSION_CLASSES=[f"{__name__}.NeedsSecondFactor"])
    assert uploader.api.post(uploader.url, {"FileName": "a", "FileSize": 1}, format="json").status_code == 403


class BearsNothing(BaseAuthentication):
    """Refuse every token with the error of simplejwt."""

    def authenticate(self, request: Any) -> None:
        raise AuthenticationFailed({"detail": "Given token not valid", "code": "token_not_valid"})


def test_message_of_the_authenticator_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploads._internal.http.views.UploadView.authentication_classes", [BearsNothing])
    answer = APIClient().get("/tus/")
    assert (answer.status_code, answer.json()["title"]) == (401, "Given token not valid")


def wait_for_heartbeats() -> None:
    """Join the heartbeat threads, whose connections were opened with other settings."""
    for thread in threading.enumerate():
        if thread.name == "uploads-heartbeat":
            thread.join()


def test_pooled_connection_is_released_during_the_body(
    transactional_db: None, file_store: Store, open_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("Only PostgreSQL's connections come from pools.")
    for numbered in (False, True):
        session = open_session(2)
        connection.close()
        wait_for_heartbeats()
        monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)
        pool = {"min_size": 1, "max_size": 1, "timeout": 5}
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "pool", pool)

        def blocks() -> Iterator[bytes]:
            for block in (b"a", b"b"):
                with connection.pool.connection() as other:  # type: ignore[attr-defined]
                    other.execute("SELECT 1")
                yield block

        try:
            chunk = dataclasses.replace(chunk_of(b"ab"), blocks=blocks())
            if numbered:
                assert sessions.receive_numbered(session, chunk, 1).bytes_stored == 2
            else:
                assert sessions.receive(session, chunk).state == State.COMPLETED
        finally:
            connection.close()
            wait_for_heartbeats()
            connection.close_pool()  # type: ignore[attr-defined]
            monkeypatch.undo()


class OnceADay(UserRateThrottle):
    rate = "1/day"


def test_default_throttles_skip_chunks(file_store: Store, uploader: Uploader, monkeypatch: pytest.MonkeyPatch) -> None:
    session = uploader.create(3)
    monkeypatch.setattr("uploads._internal.protocols.onlyoffice.views.UploadView.throttle_classes", (OnceADay,))
    assert [uploader.send(session, byte).status_code for byte in (b"a", b"b", b"c")] == [200, 200, 201]


def test_body_read_by_middleware_is_reported(file_store: Store, uploader: Uploader, settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.hosts.middleware.Reading"]
    session = uploader.create(2)
    assert error_of(uploader.send(session, b"ab")) == (400, "body_consumed")
    assert uploader.state(session)["bytes_uploaded"] == 0


def test_responses_forbid_caching_and_401_challenges(file_store: Store, uploader: Uploader) -> None:
    session = uploader.create(2)
    assert uploader.api.get(session["location"])["Cache-Control"] == "no-store"
    answer = APIClient().get(session["location"])
    assert (answer.status_code, answer["Cache-Control"]) == (401, "no-store")
    assert {"Bearer", 'Basic realm="api"'} <= {*answer["WWW-Authenticate"].split(", ")}
    of_page = APIClient().get(session["location"], HTTP_SEC_FETCH_MODE="cors")
    assert "Basic" not in of_page["WWW-Authenticate"]


@pytest.mark.parametrize("path", ["api/2.0/files/@my/upload/create_session", "uppy/s3/multipart", "tus/"])
def test_options_need_no_login(db: None, path: str) -> None:
    answer = APIClient().options(f"/{path}")
    assert answer.status_code == 200
    assert "POST" in answer["Allow"]


def test_compressed_chunk_is_refused(file_store: Store, uploader: Uploader) -> None:
    session = uploader.create(2)
    answer = uploader.send_raw(session, b"ab", HTTP_CONTENT_ENCODING="gzip")
    assert error_of(answer) == (415, "content_encoding_unsupported")
    assert uploader.send_raw(session, b"ab", HTTP_CONTENT_ENCODING="identity").status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"HTTP_AUTHORIZATION": "Bearer {}", "HTTP_APIKEYBEARER": "Bearer {}"}, id="both-with-scheme"),
        pytest.param({"HTTP_APIKEYBEARER": "Bearer {}"}, id="the-vendor's-with-scheme"),
        pytest.param({"HTTP_AUTHORIZATION": "Bearer {}", "HTTP_APIKEYBEARER": "else"}, id="the-second-says-nothing"),
        pytest.param({"HTTP_COOKIE": "asc_auth_key={}"}, id="the-named-cookie-of-a-program"),
    ],
)
def test_credentials_of_programs_are_accepted(
    file_store: Store, root: Any, user: User, headers: dict[str, str]
) -> None:
    token = Token.objects.create(user=user).key
    sent: dict[str, Any] = {name: value.format(token) for name, value in headers.items()}
    url = f"/api/2.0/files/{root.pk}/upload/create_session"
    assert APIClient().post(url, {"FileName": "a", "FileSize": 1}, format="json", **sent).status_code == 200


@pytest.mark.parametrize("header", [{"HTTP_ORIGIN": "https://evil.example"}, {"HTTP_SEC_FETCH_SITE": "cross-site"}])
def test_cross_site_token_cookie_is_refused(file_store: Store, root: Any, user: User, header: dict[str, Any]) -> None:
    token = Token.objects.create(user=user).key
    url = f"/api/2.0/files/{root.pk}/upload/create_session"
    answer = APIClient(enforce_csrf_checks=True).post(
        url, {"FileName": "a", "FileSize": 1}, format="json", HTTP_COOKIE=f"asc_auth_key={token}", **header
    )
    assert answer.status_code == 403


def test_downloads_answer_head_requests(file_store: Store, uploader: Uploader) -> None:
    finished = uploader.send(uploader.create(3, name="a.png"), b"abc")
    file = finished.json()["data"]["file"]
    assert (file["fileType"], file["encrypted"]) == (4, False)
    head = uploader.api.head(file["viewUrl"])
    assert (head.status_code, head["Content-Length"]) == (200, "3")
    assert head["ETag"]
    assert head["Last-Modified"]


def test_concurrent_chunks_are_limited_per_user(
    file_store: Store, uploader: Uploader, other_user: User, uploads_settings: Change
) -> None:
    uploads_settings(UPLOAD_THREADS=1)
    second, root = uploader.create(4), uploader.create(4)["path"][0]
    PortalFolder.objects.filter(pk=root).update(owner=other_user)
    other = Uploader(APIClient(), root)
    other.api.force_authenticate(other_user)
    theirs = other.create(4)
    slot = RequestSlot()
    slot.acquire(UploadSession.objects.get(pk=second["id"]).owner_key)
    answer = uploader.send(second, b"abcd")
    assert error_of(answer) == (429, "too_many_requests")
    assert int(answer["Retry-After"]) > 0
    assert other.send(theirs, b"abcd").status_code == 201
    slot.release()
    assert [uploader.send(second, data).status_code for data in (b"ab", b"cd")] == [200, 201]


class Service:
    """Principal without a user row: a service account or another system's token."""

    is_authenticated, is_active = True, True

    def __init__(self, key: object) -> None:
        self.pk = key


class ForServices(PortalDestination):
    """Destination that stores files of services in a user's folder."""

    def folder(self, user: Any, folder_id: str) -> Folder:
        folder = PortalFolder.objects.get(pk=folder_id)
        return Folder(folder.pk, folder.path)

    def free_space(self, user: Any) -> int | None:
        return 10


def test_principal_without_row_can_upload(file_store: Store, root: Any, user: User, uploads_settings: Change) -> None:
    uploads_settings(DESTINATION=f"{__name__}.ForServices", MAX_OPEN_SESSIONS=1)
    mine, other, person = (Uploader(APIClient(), root.pk) for _ in range(3))
    mine.api.force_authenticate(Service(user.pk))
    other.api.force_authenticate(Service("else"))
    person.api.force_authenticate(user)
    session = mine.create(4)
    for stranger in (other, person):  # A service with a user's primary key is not that user.
        assert error_of(stranger.send(session, b"ab")) == (404, "session_not_found")
    answer = mine.api.post(mine.url, {"FileName": "b", "FileSize": 1}, format="json")
    assert error_of(answer) == (429, "too_many_sessions")
    assert other.create(4)["id"] != session["id"]
    assert [mine.send(session, data).status_code for data in (b"ab", b"cd")] == [200, 201]
    assert UploadSession.objects.get(pk=session["id"]).owner is None


class Anonymous:
    """Principal without a key; all instances count as one owner."""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (User(username="a"), User(username="b")),  # Built from a token by an authenticator, without a row.
        (Service("abC"), Service("ABc")),  # Equal under some collations.
        (Service("x" * 300 + "1"), Service("x" * 300 + "2")),
    ],
)
def test_owner_keys_are_distinct(one: Any, other: Any) -> None:
    assert key_of(one).casefold() != key_of(other).casefold()
    assert max(len(key_of(one)), len(key_of(other))) <= 255
    assert key_of(one) == key_of(one)
    assert key_of(Anonymous()) == key_of(Anonymous())


class Tenants(PortalDestination):
    """Each tenant has a storage and a prefix; an audit covers one tenant."""

    tenant = "a"

    def accept(self, user: Any, session: UploadSession) -> None:
        session.storage = f"tenant-{self.tenant}"

    def prefix(self, session: UploadSession) -> str:
        return f"files-of-{self.tenant}"

    def audit_prefixes(self) -> list[tuple[str, str]]:
        return [(f"tenant-{self.tenant}", f"files-of-{self.tenant}")]


def test_tenants_have_separate_upload_targets(
    settings: Any,
    tmp_path: Any,
    small_chunks: None,
    uploader: Uploader,
    uploads_settings: Change,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": tmp_path}}
    settings.STORAGES = {**settings.STORAGES, "tenant-a": backend, "tenant-b": backend}
    uploads_settings(DESTINATION=f"{__name__}.Tenants", AUDIT_GRACE=timedelta(microseconds=1))
    kept: dict[str, Any] = {}
    for tenant in ("a", "b"):
        monkeypatch.setattr(Tenants, "tenant", tenant)
        uploader.send(uploader.create(2), b"a")
        UploadSession.objects.all().delete()
        (kept[tenant],) = (tmp_path / f"files-of-{tenant}").rglob(".*")
    assert sessions.audit(fix=True).freed == 1
    assert (kept["a"].exists(), kept["b"].exists()) == (True, False)


def test_audit_keeps_objects_of_another_database(
    store: Store, small_chunks: None, uploader: Uploader, uploads_settings: Change
) -> None:
    """Tenants with separate schemas may share settings, bucket and prefix."""
    uploads_settings(AUDIT_GRACE=timedelta(microseconds=1), OBJECT_PREFIX=f"shared-{uuid.uuid4().hex}")
    theirs = uploader.create(20 * MIB)
    uploader.send(theirs, bytes(10 * MIB))
    UploadSession.objects.filter(pk=theirs["id"]).delete()
    NamingKey.objects.update(key="of another database")
    found = sessions.audit(fix=True)
    assert (found.orphans, found.freed, found.strange) == (0, 0, 1)


def test_object_is_named_like_the_file(s3_store: Any, uploader: Uploader) -> None:
    """Models may derive title, type and download name from their FileField."""
    finished = uploader.send(uploader.create(3, name="Summer report.PDF"), b"abc")
    content = PortalFile.objects.get(pk=finished.json()["data"]["id"]).content
    assert str(content.name).rpartition("/")[2] == "Summer_report.PDF"
    assert len(str(content.name)) <= 100  # Django's default for a FileField
    answer = s3_store.client.head_object(Bucket="uploads", Key=f"media/{content.name}")
    assert answer["ContentType"] == "application/pdf"
    assert answer["ContentDisposition"] == 'attachment; filename="Summer report.PDF"'
    content.delete(save=False)


@pytest.mark.parametrize("name", ["a" * 200 + ".html", ".htaccess", "…", "日本語" * 30 + ".txt", "a.b" * 60])
def test_any_file_name_yields_signed_object_name(file_store: Store, uploader: Uploader, name: str) -> None:
    session = UploadSession.objects.get(pk=uploader.create(3, name=name)["id"])
    last = session.object_name.rpartition("/")[2]
    assert session.name_signature in session.object_name
    assert 0 < len(last) <= 32
    assert not last.startswith(".")
    assert len(session.object_name) <= 100


def test_indexes_fit_the_limit_of_mysql() -> None:
    """MySQL's InnoDB limits a key to 3,072 bytes, at four bytes a character.

    MariaDB does not refuse longer keys.
    """
    for model in [*apps.get_app_config("upload_sessions").get_models(), *apps.get_app_config("portal").get_models()]:
        single = [[field.name] for field in model._meta.get_fields() if _is_indexed(field)]
        several = [
            index.fields for index in (*model._meta.indexes, *model._meta.constraints) if hasattr(index, "fields")
        ]
        for names in (*single, *several):
            lengths = [getattr(model._meta.get_field(name.lstrip("-")), "max_length", 0) or 16 for name in names]
            assert 4 * sum(lengths) <= 3072, (model, names)


def _is_indexed(field: Any) -> bool:
    return any(getattr(field, name, False) for name in ("unique", "db_index", "primary_key"))
