"""Concatenation of tus 1.0: a client sends parts of a file at once, and joins them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from rest_framework.test import APIClient

from devstack import weed
from portal.destination import PortalDestination
from portal.models import File, Folder
from tests.data import MIB, some_bytes
from tests.proxy import Proxy
from tests.uploads.test_tus import BYTES, TUS, Client, code_of, meta
from uploads import signals
from uploads._internal import sessions
from uploads._internal.stores import get_store
from uploads._internal.stores.base import Store
from uploads.exceptions import Forbidden, QuotaExceeded
from uploads.models import PendingFile, State, UploadSession

pytestmark = [pytest.mark.django_db]


@pytest.fixture
def tus(api: APIClient, root: Folder, file_store: Store) -> Client:
    return Client(api)


def send_partial(tus: Client, data: bytes) -> str:
    url: str = tus.create(len(data), data, HTTP_UPLOAD_CONCAT="partial", HTTP_UPLOAD_METADATA="")["Location"]
    return url


def join(tus: Client, *urls: str, name: str = "a.bin", **headers: Any) -> Any:
    concat = {"HTTP_UPLOAD_CONCAT": f"final;{' '.join(urls)}", "HTTP_UPLOAD_METADATA": meta(filename=name)}
    return tus.api.post(tus.endpoint, **TUS | concat | headers)


def row(url: str) -> UploadSession:
    session: UploadSession = UploadSession.objects.get(pk=url.rpartition("/")[2])
    return session


@pytest.mark.parametrize(
    "sizes", [[1], [0, 3, 0], [6 * MIB, 1, 0, 13 * MIB + 5], [31 * MIB + 7, 17 * MIB, 26 * MIB + 1]], ids=str
)
def test_file_is_what_its_parts_are(api: APIClient, root: Folder, store: Store, sizes: list[int]) -> None:
    tus, parts = Client(api, root), [some_bytes(size) for size in sizes]
    urls = [send_partial(tus, part) for part in parts]
    assert not File.objects.exists()
    assert [tus.head(url)["Upload-Concat"] for url in urls] == ["partial"] * len(urls)
    answer = join(tus, *urls)
    assert answer.status_code == 201, answer.content
    final = answer["Location"]
    assert tus.content(final) == b"".join(parts)
    found = tus.head(final)
    paths = [url.partition("testserver")[2] for url in urls]
    assert found["Upload-Concat"] == f"final;{' '.join(paths)}"
    assert found["Upload-Offset"] == found["Upload-Length"] == str(sum(sizes))
    assert not any(store.stat(row(url).object_name) for url, size in zip(urls, sizes, strict=True) if size)
    assert not list(row(final).fragments.all())


def test_large_parts_are_copied_by_the_store(api: APIClient, root: Folder, proxy: Proxy) -> None:
    """Only the part that two partial uploads share passes the portal again."""
    tus, parts = Client(api, root), [some_bytes(40 * MIB + 5), some_bytes(40 * MIB)]
    urls = [send_partial(tus, part) for part in parts]
    assert get_store("default").composes  # It is found out once.
    proxy.calls.clear()
    final = join(tus, *urls)["Location"]
    assert {kind: proxy.calls[kind] for kind in ("UploadPartCopy", "GetObject", "UploadPart")} == {
        "UploadPartCopy": 8,
        "GetObject": 2,
        "UploadPart": 1,
    }
    assert tus.content(final) == b"".join(parts)
    assert row(final).crc32 is not None


def test_repeated_request_returns_the_same_upload(tus: Client) -> None:
    """The answer to the first request may have been lost."""
    urls = [send_partial(tus, b"ab"), send_partial(tus, b"c")]
    first = join(tus, *urls)
    assert (join(tus, *urls).status_code, join(tus, *urls)["Location"]) == (201, first["Location"])
    assert File.objects.count() == 1
    assert code_of(join(tus, *reversed(urls))) == (409, "partials_taken")
    assert code_of(join(tus, urls[0])) == (409, "partials_taken")
    assert tus.head(urls[0])["Upload-Offset"] == "2"


def test_parts_of_another_file_or_user_are_refused(tus: Client, root: Folder, django_user_model: Any) -> None:
    other = APIClient()
    other.force_authenticate(django_user_model.objects.create(username="other"))
    url, whole = send_partial(tus, b"ab"), tus.create(2, b"ab")["Location"]
    unfinished = tus.create(3, b"ab", HTTP_UPLOAD_CONCAT="partial")["Location"]
    assert code_of(join(Client(other), url)) == (404, "session_not_found")
    assert code_of(join(tus, whole)) == (404, "session_not_found")
    assert code_of(join(tus, "/tus/elsewhere")) == (404, "session_not_found")
    assert code_of(join(tus, url, unfinished)) == (409, "partial_unfinished")
    assert code_of(join(tus, url, url)) == (400, "invalid_request")
    assert code_of(join(tus)) == (400, "invalid_request")
    assert code_of(join(tus, url, HTTP_UPLOAD_LENGTH="2")) == (400, "invalid_request")
    assert join(tus, url).status_code == 201


def test_joined_upload_takes_no_bytes(tus: Client) -> None:
    url = send_partial(tus, b"ab")
    assert code_of(join(tus, url, data=b"c", content_type=BYTES)) == (400, "invalid_request")
    final = join(tus, url)["Location"]
    assert code_of(tus.patch(final, 2, b"c")) == (403, "upload_concatenated")
    assert tus.content(final) == b"ab"


def test_rules_apply_to_the_file(
    tus: Client, uploads_settings: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name and type are those of the file. Each byte counts once against the user's space."""
    uploads_settings(ALLOWED_EXTENSIONS=[".pdf"])
    monkeypatch.setattr(PortalDestination, "free_space", lambda *_: 5)
    urls = [send_partial(tus, b"abc"), send_partial(tus, b"de")]
    assert code_of(tus.create(1, name="more.pdf")) == (403, "quota_exceeded")
    assert code_of(join(tus, *urls, name="a.exe"))[1] == "extension_not_allowed"
    assert join(tus, *urls, name="a.pdf").status_code == 201


def test_signals_are_sent_for_the_file_only(tus: Client) -> None:
    names: list[str] = []

    def note(session: UploadSession, **_: Any) -> None:
        names.append(session.file_name)

    both = (signals.session_created, signals.session_completed)
    for signal in both:
        signal.connect(note)
    try:
        join(tus, send_partial(tus, b"ab"), send_partial(tus, b"c"))
    finally:
        for signal in both:
            signal.disconnect(note)
    assert names == ["a.bin"] * 2


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("end", ["deleted", "overdue", "lost", "file-expired"])
def test_parts_without_a_file_are_deleted(
    tus: Client,
    file_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    uploads_settings: Callable[..., None],
    end: str,
) -> None:
    """The client is told to begin again. The audit finds what no row names."""
    url = send_partial(tus, b"ab")
    uploads_settings(AUDIT_GRACE=timedelta(microseconds=1))
    sessions.audit(fix=True, tell=print)
    assert len(list(file_store.list_objects(""))) == 1
    if end == "deleted":
        assert tus.delete(url).status_code == 204
    elif end == "overdue":
        PendingFile.objects.update(since=timezone.now() - timedelta(days=30))
    elif end == "lost":
        UploadSession.objects.all().delete()
    else:
        monkeypatch.setattr(PortalDestination, "publish", failing(QuotaExceeded(size=2, free=1, reserved=0)))
        assert code_of(join(tus, url))[1] == "completion_failed"
        UploadSession.objects.filter(state=State.FAILED).update(expires_at=timezone.now() - timedelta(days=1))
    sessions.expire_stale(batch_size=10)
    assert tus.head(url).status_code == (404 if end == "lost" else 410)
    assert code_of(join(tus, url))[1] in ("partials_taken", "session_not_found")
    sessions.audit(fix=True, tell=print)
    assert not list(file_store.list_objects(""))


def test_completion_is_retried_with_the_parts(tus: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PortalDestination, "publish", failing(RuntimeError()))
    final = join(tus, send_partial(tus, b"ab"), send_partial(tus, b"c"))["Location"]
    assert row(final).state == State.COMPLETING
    assert "Upload-Offset" not in tus.head(final)
    monkeypatch.undo()
    UploadSession.objects.filter(pk=row(final).pk).update(retry_at=None)
    sessions.complete_due(limit=10)
    assert tus.content(final) == b"abc"


def test_failed_request_can_be_repeated(tus: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that the database lost does not count against the user's space."""
    monkeypatch.setattr(PortalDestination, "free_space", lambda *_: 5)
    url = send_partial(tus, b"abc")

    def lose(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("INSERT") and "upload_sessions_fragment" in sql:
            raise OperationalError
        return execute(sql, *args)

    with connection.execute_wrapper(lose):
        assert join(tus, url).status_code == 503
    assert join(tus, url).status_code == 201


def test_portal_decides_about_parts(tus: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts need a folder of the user. Forms take none, because their ticket is for a whole file."""
    form = Client(tus.api)
    form.endpoint = "/uploads/"
    assert code_of(form.create(3, b"abc", HTTP_UPLOAD_CONCAT="partial")) == (403, "not_accepted")
    monkeypatch.setattr(PortalDestination, "folder", failing(Forbidden()))
    assert code_of(tus.create(3, b"abc", HTTP_UPLOAD_CONCAT="partial")) == (403, "forbidden")


def test_only_the_file_is_checked(tus: Client, uploads_settings: Callable[..., None]) -> None:
    uploads_settings(SHA256=True, CHECK_WAIT=timedelta(0))
    answer = join(tus, send_partial(tus, b"ab"))
    assert row(answer["Location"]).state == State.CHECKING


@pytest.mark.parametrize("sizes", [[3], [40 * MIB, 6 * MIB]], ids=["read", "copied"])
def test_changed_part_is_noticed(
    api: APIClient, root: Folder, s3_store: Store, s3_client: Any, sizes: list[int]
) -> None:
    tus = Client(api, root)
    urls = [send_partial(tus, some_bytes(size)) for size in sizes]
    key = f"media/{row(urls[0]).object_name}"
    s3_client.put_object(Bucket=weed.BUCKET, Key=key, Body=some_bytes(sizes[0], seed=99))
    join(tus, *urls)
    assert not File.objects.exists()
