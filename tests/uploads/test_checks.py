from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from portal.models import File
from uploads._internal import conf
from uploads._internal.checks import check_authentication, check_settings
from uploads.destinations import Destination, Folder


class Halfway(Destination):
    """Destination with folder() but without publish()."""

    def folder(self, *_: Any) -> Folder:
        return Folder(1, [1])


def ids() -> list[str]:
    return [message.id or "" for message in check_settings()]


def test_portal_passes_all_checks(file_store: object) -> None:
    assert ids() == []


def test_portal_passes_all_checks_on_s3(s3_store: object) -> None:
    assert ids() == []


def test_every_setting_has_its_own_check() -> None:
    checks = [field.metadata["check"] for field in conf.fields()]
    assert len(checks) == len(set(checks))


@pytest.mark.parametrize("field", conf.fields(), ids=lambda field: field.name)
def test_invalid_value_reports_the_settings_check(
    field: Any, uploads_settings: Callable[..., None], file_store: object
) -> None:
    uploads_settings(**{field.name: object()})
    assert ids() == [field.metadata["check"]]


@pytest.mark.parametrize(
    ("values", "check"),
    [
        ({"CHUNK_SIZE": 5}, "uploads.E001"),
        ({"DESTINATION": ""}, "uploads.E002"),
        ({"SESSION_LIFETIME": timedelta(0)}, "uploads.E005"),
        ({"MIN_CHUNK_SIZE": True}, "uploads.E006"),
        ({"PART_SIZE": 5 * 2**20 - 1}, "uploads.E009"),
        ({"LOCATION_AUTH": "anybody"}, "uploads.E013"),
        ({"DESTINATION": "portal.destination.Nothing"}, "uploads.E020"),
        ({"DESTINATION": "portal.models.File"}, "uploads.E021"),
        ({"DESTINATION": f"{__name__}.Halfway"}, "uploads.E025"),
        ({"MAX_CHUNK_SIZE": 1024}, "uploads.E024"),
        ({"STORAGE": "attic"}, "uploads.E022"),
    ],
)
def test_misconfiguration_reports_one_check(
    values: dict[str, Any], check: str, uploads_settings: Callable[..., None], file_store: object
) -> None:
    uploads_settings(**values)
    assert ids() == [check]


@pytest.mark.parametrize(
    ("upload_to", "named"),
    [("uploads/%Y", True), ("uploads", True), ("/uploads/", True), ("uploads-of-ours/", False), ("", False)],
)
def test_overlapping_upload_to_is_reported(
    file_store: object, monkeypatch: pytest.MonkeyPatch, upload_to: str, *, named: bool
) -> None:
    monkeypatch.setattr(File._meta.get_field("content"), "upload_to", upload_to)
    assert ids() == (["uploads.W008"] * 1 if named else [])


def test_unsupported_storage_is_an_error(settings: Any) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    }
    (message,) = check_settings()
    assert message.id == "uploads.E023"
    assert "InMemoryStorage" in message.msg
    assert "S3Storage" in str(message.hint)


def test_s3_without_a_bucket_is_a_warning(
    s3_storage: dict[str, Any], use_storage: Callable[[dict[str, Any]], object]
) -> None:
    s3_storage["OPTIONS"]["bucket_name"] = ""
    use_storage(s3_storage)
    assert ids() == ["uploads.W001"]


def test_unknown_setting_raises_at_run_time(uploads_settings: Callable[..., None]) -> None:
    uploads_settings(CHUNK_SIZE=5)
    with pytest.raises(ImproperlyConfigured, match="CHUNK_SIZE"):
        conf.current()


def test_directory_without_media_root_is_reported(settings: Any, use_storage: Callable[..., Any]) -> None:
    use_storage({"BACKEND": "django.core.files.storage.FileSystemStorage"})
    settings.MEDIA_ROOT = ""
    assert ids() == ["uploads.W019"]


def test_password_login_by_default_is_reported(settings: Any) -> None:
    assert check_authentication() == []
    settings.REST_FRAMEWORK = {}
    assert [message.id for message in check_authentication()] == ["uploads.W020"]


def test_middleware_that_reads_bodies_is_reported(settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "request_logging.middleware.LoggingMiddleware"]
    assert [message.id for message in check_settings()] == ["uploads.W009"]


@pytest.mark.parametrize(
    ("planned", "missing"), [([], 0), (["expire"], 1), (["other"], 2), (["expire", "complete"], 0)]
)
def test_unscheduled_tasks_are_reported(settings: Any, planned: list[str], missing: int) -> None:
    settings.CELERY_BEAT_SCHEDULE = {
        name: {"task": f"uploads.tasks.{name}_sessions", "schedule": 60.0} for name in planned
    }
    assert [message.id for message in check_settings()] == ["uploads.W010"] * missing
