"""Test the limits for new sessions, also under concurrent requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from portal.models import Folder
from tests.helpers import Uploader, chunk_of
from tests.uploads.test_concurrency import at_once
from uploads._internal import sessions
from uploads._internal.stores.base import Store
from uploads.exceptions import QuotaExceeded, TooManySessions
from uploads.models import State, UploadSession

OpenSession = Callable[..., UploadSession]
pytestmark = pytest.mark.usefixtures("file_store", "small_chunks")


@pytest.mark.parametrize(
    ("setting", "fields", "status", "code", "payload"),
    [
        ({"MAX_FILE_SIZE": 10}, {"FileName": "a.pdf", "FileSize": 11}, 413, "file_too_large", "10 bytes"),
        ({}, {"FileName": "a.pdf", "FileSize": 2**46}, 413, "file_too_large", f"{10_000 * 5 * 2**30} bytes"),
        ({"ALLOWED_EXTENSIONS": {".pdf"}}, {"FileName": "a.exe", "FileSize": 1}, 403, "extension_not_allowed", ".pdf"),
        ({"ALLOWED_EXTENSIONS": {".pdf"}}, {"FileName": "pdf", "FileSize": 1}, 403, "extension_not_allowed", ".pdf"),
        ({"ALLOWED_EXTENSIONS": {".pdf"}}, {"FileName": "a.PDF", "FileSize": 1}, 200, None, ""),
    ],
)
def test_refusal_names_its_limit(
    uploader: Uploader,
    uploads_settings: Callable[..., None],
    setting: dict[str, Any],
    fields: dict[str, Any],
    status: int,
    code: str | None,
    payload: str,
) -> None:
    uploads_settings(**setting)
    answer = uploader.api.post(uploader.url, fields, format="json")
    assert answer.status_code == status
    if code:
        assert answer.json()["error"]["type"] == code
        assert payload in answer.json()["message"]
        assert not UploadSession.objects.exists()


@pytest.mark.parametrize(
    "end", [sessions.abort, sessions.expire_now, lambda s: sessions.receive(s, chunk_of(b"x" * 6))]
)
def test_ended_session_frees_its_reservation(
    settings: Any, uploads_settings: Callable[..., None], open_session: OpenSession, end: Callable[..., Any]
) -> None:
    settings.QUOTA = 20
    uploads_settings(MAX_OPEN_SESSIONS=2)
    first = open_session(6)
    with pytest.raises(QuotaExceeded, match=r"14.bytes left; 6.bytes are reserved"):
        open_session(15)
    open_session(14 - 6)
    with pytest.raises(TooManySessions, match="2 unfinished uploads; the maximum is 2"):
        open_session(1)
    end(first)
    open_session(6)


def test_published_files_count_against_the_quota(settings: Any, open_session: OpenSession) -> None:
    settings.QUOTA = 10
    assert sessions.receive(open_session(6), chunk_of(b"abcdef")).state == State.COMPLETED
    with pytest.raises(QuotaExceeded, match=r"4.bytes left"):
        open_session(5)


@pytest.mark.django_db(transaction=True)
def test_concurrent_creations_respect_the_limit(
    uploads_settings: Callable[..., None], user: User, root: Folder, file_store: Store, open_session: OpenSession
) -> None:
    uploads_settings(MAX_OPEN_SESSIONS=1)
    outcomes = at_once(*[open_session] * 4)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == [*["TooManySessions"] * 3, "UploadSession"]
    assert UploadSession.objects.count() == 1
