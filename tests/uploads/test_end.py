from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portal.models import File, Folder
from tests.data import MIB, some_bytes
from tests.helpers import chunk_of
from uploads import tasks
from uploads._internal import sessions
from uploads._internal.stores.base import Store
from uploads.exceptions import SessionExpired
from uploads.models import State, UploadSession

OpenSession = Callable[..., UploadSession]


def age(**by: float) -> None:
    """Move the expiry and update times of all sessions into the past."""
    moment = timezone.now() - timedelta(**by)
    UploadSession.objects.update(expires_at=moment, updated_at=moment)


def test_expiry_leaves_nothing_in_the_bucket(
    s3_store: Store,
    open_session: OpenSession,
    s3_uploads: Callable[[], set[str]],
    s3_keys: Callable[[], set[str]],
    uploads_settings: Callable[..., None],
) -> None:
    uploads_settings(MIN_CHUNK_SIZE=MIB)
    half = sessions.receive(open_session(100 * MIB), chunk_of(some_bytes(11 * MIB)))
    sessions.receive(half, chunk_of(some_bytes(MIB)))
    assert s3_uploads() == {half.upload_id}
    age(seconds=1)
    assert tasks.expire_sessions() == 1
    assert s3_uploads() == set()
    assert s3_keys() == set()
    half.refresh_from_db()
    assert (half.state, half.storage_released) == (State.EXPIRED, True)


def test_expiry_leaves_nothing_on_disk(file_store: Store, open_session: OpenSession, tmp_path: Path) -> None:
    open_session()
    age(seconds=1)
    sessions.expire_stale(batch_size=10)
    assert [path.name for path in (tmp_path / "files").rglob("*") if path.is_file()] == [".upload-sessions"]


def test_batched_expiry_keeps_live_sessions(file_store: Store, open_session: OpenSession) -> None:
    for _ in range(5):
        open_session()
    age(seconds=1)
    alive = open_session()
    assert sessions.expire_stale(batch_size=2) == 5
    assert sessions.expire_stale(batch_size=2) == 0
    assert list(UploadSession.objects.open()) == [alive]


def test_expiry_waits_for_an_active_writer(file_store: Store, open_session: OpenSession) -> None:
    open_session()
    age(seconds=1)
    UploadSession.objects.update(lease_until=timezone.now() + timedelta(minutes=1))
    assert sessions.expire_stale(batch_size=10) == 0


def test_failed_release_is_retried_later(
    s3_store: Store, open_session: OpenSession, s3_uploads: Callable[[], set[str]]
) -> None:
    session = open_session()
    UploadSession.objects.update(storage="attic")  # A storage that is not configured.
    session.refresh_from_db()
    sessions.abort(session)
    assert (session.state, session.storage_released) == (State.ABORTED, False)
    UploadSession.objects.update(storage="default")
    sessions.expire_stale(batch_size=10)
    assert UploadSession.objects.get().storage_released
    assert s3_uploads() == set()


def test_abort_removes_empty_unused_folders(file_store: Store, open_session: OpenSession, root: Folder) -> None:
    first = open_session(relative_path="a/b")
    second = open_session(relative_path="a/c")
    sessions.abort(first)
    assert set(Folder.objects.values_list("title", flat=True)) == {"My documents", "a", "c"}
    sessions.abort(second)
    assert set(Folder.objects.values_list("title", flat=True)) == {"My documents"}


def test_retryable_session_keeps_its_folder(file_store: Store, open_session: OpenSession, root: Folder) -> None:
    failed = open_session(relative_path="a")
    UploadSession.objects.filter(pk=failed.pk).update(state=State.FAILED, bytes_stored=failed.file_size)
    sessions.abort(open_session(relative_path="a"))
    assert Folder.objects.filter(title="a").exists()


def test_folders_that_received_files_stay(
    file_store: Store, small_chunks: None, open_session: OpenSession, root: Folder
) -> None:
    waiting = open_session(relative_path="a")
    sessions.receive(open_session(2, relative_path="a/b"), chunk_of(b"xy"))
    File.objects.all().delete()
    sessions.abort(waiting)
    assert set(Folder.objects.values_list("title", flat=True)) == {"My documents", "a", "b"}


def test_ended_sessions_are_purged_after_retention(file_store: Store, open_session: OpenSession) -> None:
    sessions.abort(open_session())
    sessions.receive(open_session(0), chunk_of())
    kept = open_session()
    UploadSession.objects.update(updated_at=timezone.now() - timedelta(days=31))
    assert sessions.purge(limit=10) == 2
    assert list(UploadSession.objects.all()) == [kept]


def test_abort_is_idempotent_but_not_after_expiry(file_store: Store, open_session: OpenSession) -> None:
    session = sessions.abort(open_session())
    assert sessions.abort(session).state == State.ABORTED
    expired = sessions.expire_now(open_session())
    with pytest.raises(SessionExpired):
        sessions.abort(expired)


def test_command_lists_or_expires_sessions(file_store: Store, open_session: OpenSession) -> None:
    session = open_session(name="forgotten.iso")
    age(seconds=1)
    output = io.StringIO()
    call_command("expire_uploads", "--dry-run", stdout=output)
    assert session.id.hex in output.getvalue()
    assert "forgotten.iso" in output.getvalue()
    assert UploadSession.objects.get().state == State.OPEN
    call_command("expire_uploads", stdout=output)
    assert "1 sessions expired" in output.getvalue()
    assert UploadSession.objects.get().state == State.EXPIRED


TABLE = UploadSession._meta.db_table


IDS = {"sqlite": "lower(hex(randomblob(16)))", "postgresql": "gen_random_uuid()", "mysql": "uuid()"}
SERIES = {
    "sqlite": "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT n FROM s)",
    "postgresql": "generate_series(1, {count}) AS s(n)",
    "mysql": "(SELECT seq AS n FROM seq_1_to_{count}) AS s",
}


def multiply(session: UploadSession, count: int) -> None:
    """Copy a row many times, inside the database."""
    vendor, quoted = connection.vendor, connection.ops.quote_name
    copy = "concat('copy-', n)" if vendor == "mysql" else "'copy-' || n"
    names = [str(field.column) for field in UploadSession._meta.concrete_fields]
    changed = {"id": IDS[vendor], "object_name": copy, "object_hash": copy}
    values = ", ".join(changed.get(name, quoted(name)) for name in names)
    columns, series = ", ".join(map(quoted, names)), SERIES[vendor].format(count=count)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {TABLE} ({columns}) SELECT {values} FROM {TABLE}, {series} WHERE id = %s",  # noqa: S608
            [session.pk.hex if vendor == "sqlite" else session.pk],
        )
        if vendor != "mysql":  # MySQL's ANALYZE would commit the test's transaction.
            cursor.execute(f"ANALYZE {TABLE}")


@pytest.mark.skipif(connection.vendor == "mysql", reason="MySQL has no indexes of some rows; those of the state serve")
@pytest.mark.parametrize(
    "find",
    [
        lambda sessions: sessions.stale().order_by("expires_at"),
        lambda sessions: sessions.due().order_by("retry_at"),
        lambda sessions: sessions.unreleased(),
    ],
    ids=["stale", "due", "unreleased"],
)
def test_index_finds_sessions_among_100_000_rows(
    file_store: Store, open_session: OpenSession, find: Callable[..., Any]
) -> None:
    session = open_session()
    age(hours=1)
    multiply(session, 100_000)
    plan = find(UploadSession.objects)[:500].explain().lower()
    assert re.search(r"using (index )?upload_sessions_(expires|retry|ended|state_newest)", plan), plan


def test_expiry_costs_constant_queries_per_session(file_store: Store, open_session: OpenSession) -> None:
    costs: list[int] = []
    for count in (3, 3, 30):  # The first run includes one-time queries.
        multiply(open_session(), count - 1)
        age(hours=1)
        with CaptureQueriesContext(connection) as queries:
            assert sessions.expire_stale(batch_size=100) == count
        costs.append(len(queries))
        UploadSession.objects.all().delete()
    assert (costs[2] - costs[1]) / 27 < 15
    assert (costs[2] - costs[1]) % 27 == 0
