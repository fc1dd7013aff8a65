from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import hypothesis
import pytest
from botocore.config import Config
from botocore.loaders import JSONFileLoader
from django.contrib.auth.models import User
from django.core.files.storage import storages
from playwright.sync_api import Browser
from rest_framework.test import APIClient

from devstack import weed
from portal import settings as portal_settings
from portal.models import Folder
from tests.browser import launched
from tests.helpers import Uploader
from tests.proxy import Proxy, proxied
from uploads import signals
from uploads._internal import sessions
from uploads._internal.protocols.onlyoffice import conf
from uploads._internal.stores import make_store
from uploads._internal.stores.base import Store
from uploads.models import UploadSession

pytest_plugins = ["uploads.testing"]

# Lanes of make test-all select the profile with --hypothesis-profile=long.
for name, examples in (("short", 15), ("long", 50)):
    hypothesis.settings.register_profile(
        name, max_examples=examples, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
hypothesis.settings.load_profile("short")

read_json = JSONFileLoader.load_file


@cache
def read_once(path: str) -> Any:
    """Cache botocore's JSON files: each test's client would read 1.4 MB again."""
    return read_json(JSONFileLoader(), path)


JSONFileLoader.load_file = lambda _self, path: read_once(path)  # type: ignore[method-assign, assignment]


@pytest.fixture(scope="session", autouse=True)
def _volumes_deleted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Delete what the S3 servers stored, several GB in each run; all of them have ended by then."""
    yield
    for volume in tmp_path_factory.getbasetemp().rglob("*.dat"):
        volume.unlink()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[weed.Weed]:
    """Yield a real S3 server for the whole test session."""
    server = weed.start(tmp_path_factory.mktemp("weed"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def s3_storage(s3: weed.Weed) -> dict[str, Any]:
    """Return the portal's S3 storage, configured for the test server."""
    storage: dict[str, Any] = copy.deepcopy(portal_settings.S3_STORAGE)
    storage["OPTIONS"] |= {
        "bucket_name": s3.environment["AWS_STORAGE_BUCKET_NAME"],
        "endpoint_url": s3.endpoint,
        "access_key": s3.environment["AWS_ACCESS_KEY_ID"],
        "secret_key": s3.environment["AWS_SECRET_ACCESS_KEY"],
        "location": "media",
        "client_config": storage["OPTIONS"]["client_config"].merge(
            type(storage["OPTIONS"]["client_config"])(s3={"addressing_style": "path", "payload_signing_enabled": False})
        ),
    }
    return storage


@pytest.fixture
def file_storage(tmp_path: Path) -> dict[str, Any]:
    return {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": tmp_path / "files", "file_permissions_mode": 0o640},
    }


@pytest.fixture
def use_storage(settings: Any) -> Callable[[dict[str, Any]], Store]:
    def use(storage: dict[str, Any]) -> Store:
        settings.STORAGES = {**settings.STORAGES, "default": storage}
        return make_store("default")

    return use


@pytest.fixture(params=["s3", "filesystem"])
def store(request: pytest.FixtureRequest, use_storage: Callable[[dict[str, Any]], Store]) -> Store:
    """Run the test on each store: S3 and the file system."""
    store: Store = request.getfixturevalue("s3_store" if request.param == "s3" else "file_store")
    return store


@pytest.fixture(scope="session")
def shared_s3_storage() -> list[Any]:
    """Return the list that holds the S3 storage of tests that do not modify it.

    These tests share one client, and each capability is probed once.
    """
    return []


@pytest.fixture
def s3_store(
    s3_storage: dict[str, Any], use_storage: Callable[[dict[str, Any]], Store], shared_s3_storage: list[Any]
) -> Store:
    use_storage(s3_storage)
    if not shared_s3_storage:
        shared_s3_storage.append(storages["default"])
    storages._storages["default"] = shared_s3_storage[0]  # type: ignore[attr-defined]
    return make_store("default")


@pytest.fixture
def file_store(file_storage: dict[str, Any], use_storage: Callable[[dict[str, Any]], Store]) -> Store:
    return use_storage(file_storage)


@pytest.fixture
def impatient(s3_storage: dict[str, Any]) -> dict[str, Any]:
    """Return the S3 storage with a client that does not retry."""
    options = s3_storage["OPTIONS"]
    options["client_config"] = options["client_config"].merge(Config(retries={"total_max_attempts": 1}))
    return s3_storage


@pytest.fixture
def proxy(s3: weed.Weed, impatient: dict[str, Any], use_storage: Callable[..., Any]) -> Iterator[Proxy]:
    """Yield a proxy before the store of the test."""
    with proxied(s3.endpoint) as proxy:
        impatient["OPTIONS"]["endpoint_url"] = proxy.endpoint
        use_storage(impatient)
        yield proxy


@pytest.fixture(scope="session")
def s3_client(s3: weed.Weed) -> Any:
    """Return a client of the test server, independent of the portal's storage."""
    return boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name="us-east-1",
        aws_access_key_id=s3.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=s3.environment["AWS_SECRET_ACCESS_KEY"],
    )


@pytest.fixture
def s3_uploads(s3_client: Any) -> Callable[[], set[str]]:
    """Return a function that lists ids of multipart uploads begun during the test."""

    def uploads() -> set[str]:
        answer = s3_client.list_multipart_uploads(Bucket=weed.BUCKET)
        return {upload["UploadId"] for upload in answer.get("Uploads", [])}

    before = uploads()
    return lambda: uploads() - before


@pytest.fixture
def s3_keys(s3_client: Any) -> Callable[[], set[str]]:
    """Return a function that lists keys of objects created during the test."""

    def keys() -> set[str]:
        pages = s3_client.get_paginator("list_objects_v2").paginate(Bucket=weed.BUCKET)
        return {item["Key"] for page in pages for item in page.get("Contents", [])}

    before = keys()
    return lambda: keys() - before


@pytest.fixture
def uploads_settings(settings: Any) -> Callable[..., None]:
    """Return a function that changes values of ``settings.UPLOADS``."""

    def change(**values: Any) -> None:
        settings.UPLOADS = {**settings.UPLOADS, **values}

    return change


@pytest.fixture
def small_chunks(uploads_settings: Callable[..., None]) -> None:
    """Allow chunks of any size, so that tests need not send megabytes."""
    uploads_settings(MIN_CHUNK_SIZE=1, CHUNK_MULTIPLE=1)


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user("demo", password="demo")


@pytest.fixture
def other_user(db: None) -> User:
    return User.objects.create_user("other", password="other")


@pytest.fixture
def root(user: User) -> Folder:
    return Folder.objects.create(owner=user, title="My documents")


@pytest.fixture
def api(user: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(user)
    return client


@pytest.fixture
def uploader(api: APIClient, root: Folder) -> Uploader:
    return Uploader(api, root.pk)


@pytest.fixture
def open_session(user: User, root: Folder) -> Callable[..., UploadSession]:
    """Return a function that creates a session without HTTP."""

    def create(size: int | None = 100, name: str = "file.bin", **options: Any) -> UploadSession:
        return sessions.create(
            user, str(root.pk), sessions.FileRequest(name=name, size=size, rules=conf.current().rules, **options)
        )

    return create


def pytest_report_header() -> str:
    return f"database: {os.environ.get('DATABASE_URL', 'SQLite')}"


@pytest.fixture
def not_awaited() -> Iterator[list[UploadSession]]:
    """Collect sessions in state checking instead of starting their check."""
    from uploads.tasks import begin_check

    waiting: list[UploadSession] = []

    def note(*, session: UploadSession, **_: Any) -> None:
        waiting.append(session)

    signals.session_checking.disconnect(begin_check)
    signals.session_checking.connect(note)
    yield waiting
    signals.session_checking.disconnect(note)
    signals.session_checking.connect(begin_check)
