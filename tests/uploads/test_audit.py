"""Test the audit, which compares rows and store in both directions."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command

from portal.models import File
from tests.helpers import chunk_of
from uploads._internal import conf, sessions
from uploads._internal.stores.base import Store, Upload
from uploads._internal.stores.buffer import Buffer
from uploads._internal.stores.names import fragment_of, sign_name
from uploads._internal.transfer.targets import upload_of
from uploads.models import NamingKey, UploadSession

OpenSession = Callable[..., UploadSession]
pytestmark = pytest.mark.usefixtures("small_chunks")
FOREIGN = f"{uuid.uuid4().hex}-{'0' * 8}-{'0' * 8}"


@pytest.fixture
def no_grace(uploads_settings: Callable[..., None]) -> None:
    """Audit objects of any age, below a prefix that only this test uses.

    Earlier tests rolled back their rows but left their objects in the store.
    """
    uploads_settings(AUDIT_GRACE=timedelta(microseconds=1), OBJECT_PREFIX=f"audit-{uuid.uuid4().hex}")


def names_of(store: Store) -> set[str]:
    prefix = conf.current().OBJECT_PREFIX
    listed = {found.upload.name for found in store.list_uploads(prefix)}
    return listed | {found.name for found in store.list_objects(prefix)}


@pytest.fixture
def mixed(store: Store, no_grace: None, open_session: OpenSession) -> tuple[Store, set[str]]:
    """Return a store with sessions in several states, a purged session's file and unrelated objects."""
    prefix = conf.current().OBJECT_PREFIX
    running, finished, gone = open_session(9), open_session(3), open_session(3)
    sessions.receive(running, chunk_of(b"abc"))
    sessions.receive(finished, chunk_of(b"abc"))
    sessions.receive(gone, chunk_of(b"abc"))
    gone.delete()
    others = f"{prefix}/report.{uuid.uuid4().hex}.pdf", f"{prefix}/2026/01/{FOREIGN}/report.pdf"
    for other in (*others, f"{finished.object_name}.200x200.jpg"):
        store.put_fragment(other, Buffer(b"the portal's own, another portal's, a thumbnail"), encrypted=False)
    return store, names_of(store)


def plant_orphans(store: Store) -> Upload:
    """Create an upload and a fragment, as a killed process would leave them."""
    mark = sign_name(uuid.uuid4(), "report.pdf", NamingKey.current())
    upload = Upload(f"{conf.current().OBJECT_PREFIX}/2026/01/{mark}/report.pdf", "")
    upload = Upload(upload.name, store.create(upload.name, content_type="a/b", encrypted=False))
    store.put_part(upload, number=1, offset=0, data=Buffer(b"12345"))
    store.put_fragment(fragment_of(upload.name, mark), Buffer(b"123"), encrypted=False)
    return upload


def test_audit_removes_orphans_only(mixed: tuple[Store, set[str]]) -> None:
    store, before = mixed
    upload = plant_orphans(store)
    found = sessions.audit()
    assert (found.orphans, found.orphan_bytes, found.freed, found.lost) == (2, 8, 0, [])
    fixed = sessions.audit(fix=True)
    assert (fixed.freed, fixed.freed_bytes, fixed.strange) == (2, 8, 3)
    assert names_of(store) == before
    assert store.upload_size(upload) is None
    for file in File.objects.all():
        assert b"".join(store.read(str(file.content.name))) == b"abc"


def test_audit_keeps_objects_within_grace(mixed: tuple[Store, set[str]], uploads_settings: Callable[..., None]) -> None:
    plant_orphans(mixed[0])
    uploads_settings(AUDIT_GRACE=timedelta(minutes=5))
    assert sessions.audit(fix=True).orphans == 0


@pytest.mark.parametrize("taken", ["upload", "fragment"])
def test_audit_names_sessions_without_bytes(
    s3_store: Store, no_grace: None, open_session: OpenSession, taken: str
) -> None:
    session = sessions.receive(open_session(9), chunk_of(b"abc"))
    if taken == "upload":
        s3_store.abort(upload_of(session))
    else:
        s3_store.delete([session.fragments.get().name])
    lines: list[str] = []
    assert sessions.audit(fix=True, tell=lines.append).lost == [session.pk.hex]
    assert lines[0].startswith(f"session {session.pk.hex} ('file.bin' of demo): the store has lost its bytes")


def test_audit_names_file_and_user_of_orphans(store: Store, no_grace: None, open_session: OpenSession) -> None:
    """An aborted session's row outlives a late write of its client."""
    session = sessions.abort(open_session(9))
    store.put_fragment(fragment_of(session.object_name, session.name_signature), Buffer(b"123"), encrypted=False)
    lines: list[str] = []
    sessions.audit(tell=lines.append)
    assert f"of session {session.pk.hex} ('file.bin' of demo) since" in lines[0]


def test_command_reports_orphans(mixed: tuple[Store, set[str]]) -> None:
    store, _ = mixed
    plant_orphans(store)
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("audit_uploads", stdout=out)
    call_command("audit_uploads", "--fix", stdout=out)
    lines = out.getvalue().splitlines()
    assert any(line.startswith("orphan multipart upload audit-") for line in lines)
    assert "2 orphans of 8\xa0bytes, 2 of them removed" in lines[-1]


def test_concurrent_audits_are_harmless(mixed: tuple[Store, set[str]]) -> None:
    store, before = mixed
    plant_orphans(store)
    interleaved: list[Any] = []
    sessions.audit(
        fix=True, tell=lambda _line: interleaved.append(sessions.audit(fix=True)) if not interleaved else None
    )
    assert names_of(store) == before


def test_audit_keeps_objects_of_another_alias(
    settings: Any, s3_store: Store, no_grace: None, open_session: OpenSession
) -> None:
    """Two aliases may share bucket and location, for example with different storage classes."""
    session = sessions.receive(open_session(9), chunk_of(b"abc"))
    UploadSession.objects.update(storage="cold")
    settings.STORAGES = {**settings.STORAGES, "cold": settings.STORAGES["default"]}
    assert sessions.audit(fix=True).orphans == 0
    assert s3_store.upload_size(upload_of(session)) is not None


@pytest.mark.parametrize("prefix", ["uploads/", "./uploads", "/uploads", "../uploads", "a//b"])
def test_non_canonical_prefix_is_refused(uploads_settings: Callable[..., None], prefix: str) -> None:
    uploads_settings(OBJECT_PREFIX=prefix)
    assert "uploads.E004" in {message.id for message in run_checks(tags=["uploads"])}
