"""The contract of a store, tested on all stores."""

from __future__ import annotations

import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.data import MIB, some_bytes
from tests.helpers import Uploader
from uploads._internal.stores.base import Part, Store, Upload
from uploads._internal.stores.buffer import Buffer
from uploads.exceptions import StoreUnavailable, UploadGone

PART = 5 * 2**20
"""The smallest part size that every store accepts."""


@pytest.fixture
def upload(store: Store, request: pytest.FixtureRequest) -> Upload:
    name = f"contract/{abs(hash(request.node.nodeid))}"
    return Upload(name, store.create(name, content_type="text/plain", encrypted=False))


def put(store: Store, upload: Upload, number: int, offset: int, data: bytes) -> Part:
    crc32 = zlib.crc32(data)
    etag, _ = store.put_part(upload, number=number, offset=offset, data=Buffer(data))
    return Part(number, len(data), crc32, etag)


def finish(store: Store, upload: Upload, data: bytes) -> list[Part]:
    """Store ``data`` in two parts and complete the upload."""
    parts = [put(store, upload, 1, 0, data[:PART]), put(store, upload, 2, PART, data[PART:])]
    store.sync(upload)
    store.complete(upload, parts, crc32=zlib.crc32(data))
    return parts


def test_complete_joins_parts_into_the_object(store: Store, upload: Upload) -> None:
    data = some_bytes(PART + 123)
    assert store.stat(upload.name) is None
    finish(store, upload, data)
    stored = store.stat(upload.name)
    assert stored
    assert stored.size == len(data)
    assert stored.crc32 in (None, zlib.crc32(data))
    assert stored.encryption == ""
    assert b"".join(store.read(upload.name)) == data
    assert b"".join(store.read(upload.name, start=PART - 1, size=3)) == data[PART - 1 : PART + 2]


def test_resent_part_replaces_the_first(store: Store, upload: Upload) -> None:
    put(store, upload, 1, 0, b"wrong")
    part = put(store, upload, 1, 0, b"right")
    store.complete(upload, [part], crc32=part.crc32 or 0)
    assert b"".join(store.read(upload.name)) == b"right"


def test_empty_object_has_one_empty_part(store: Store, upload: Upload) -> None:
    store.complete(upload, [put(store, upload, 1, 0, b"")], crc32=0)
    stored = store.stat(upload.name)
    assert stored
    assert stored.size == 0
    assert b"".join(store.read(upload.name)) == b""


def test_completing_twice_changes_nothing(store: Store, upload: Upload) -> None:
    data = some_bytes(PART + 1)
    parts = finish(store, upload, data)
    store.complete(upload, parts, crc32=zlib.crc32(data))
    assert b"".join(store.read(upload.name)) == data


def test_aborted_upload_is_gone(store: Store, upload: Upload) -> None:
    put(store, upload, 1, 0, b"data")
    store.abort(upload)
    store.abort(upload)
    with pytest.raises(UploadGone):
        put(store, upload, 2, 4, b"more")
    assert store.stat(upload.name) is None


def test_fragments_are_separate_objects(store: Store) -> None:
    store.put_fragment("fragments/1", Buffer(b"abc"), encrypted=False)
    assert b"".join(store.read("fragments/1")) == b"abc"
    store.delete(["fragments/1", "fragments/2"])
    with pytest.raises(UploadGone):
        b"".join(store.read("fragments/1"))


def test_s3_refuses_a_corrupt_part(s3_store: Store) -> None:
    upload = Upload("damaged", s3_store.create("damaged", content_type="a/b", encrypted=False))
    damaged = Buffer(b"data")
    damaged.crc32 = zlib.crc32(b"date")
    with pytest.raises(StoreUnavailable):
        s3_store.put_part(upload, number=1, offset=0, data=damaged)


def test_s3_reports_encryption(s3_store: Store) -> None:
    upload = Upload("secret", s3_store.create("secret", content_type="a/b", encrypted=True))
    part = put(s3_store, upload, 1, 0, b"data")
    s3_store.complete(upload, [part], crc32=part.crc32 or 0)
    stored = s3_store.stat("secret")
    assert stored
    assert stored.encryption == "AES256"


def test_unreachable_s3_is_reported_as_unavailable(s3_storage: dict[str, Any], use_storage: Any) -> None:
    s3_storage["OPTIONS"]["endpoint_url"] = "http://127.0.0.1:9"
    store = use_storage(s3_storage)
    with pytest.raises(StoreUnavailable):
        store.create("x", content_type="a/b", encrypted=False)


def test_file_stays_hidden_until_complete(file_store: Store, tmp_path: Path) -> None:
    name = "2026/11/example"
    upload = Upload(name, file_store.create(name, content_type="a/b", encrypted=False))
    part = put(file_store, upload, 1, 0, b"data")
    directory = tmp_path / "files" / "2026" / "11"
    assert [path.name for path in directory.iterdir()] == [f".example.{upload.id}"]
    file_store.complete(upload, [part], crc32=part.crc32 or 0)
    (final,) = directory.iterdir()
    assert final.name == "example"
    assert final.stat().st_mode & 0o777 == 0o640


@pytest.fixture
def small_disk(tmp_path: Path, use_storage: Callable[..., Any]) -> Iterator[None]:
    """Store files on a file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    size = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if mount is None or subprocess.run([mount, *size], check=False, capture_output=True).returncode:
        pytest.skip("No right to mount a file system.")
    try:
        use_storage({"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(disk)}})
        yield
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.django_db
@pytest.mark.usefixtures("small_disk", "small_chunks")
def test_full_disk_answers_507(uploader: Uploader) -> None:
    answer = uploader.send_raw(uploader.create(3 * MIB), bytes(2 * MIB))
    assert (answer.status_code, answer.json()["error"]["type"]) == (507, "storage_full")


def test_unfinished_files_have_the_storage_mode(tmp_path: Path, use_storage: Callable[..., Any]) -> None:
    """Their owner may write to them, even if the storage makes files read-only."""
    options = {"location": str(tmp_path / "files"), "file_permissions_mode": 0o440}
    store = use_storage({"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": options})
    upload = Upload("a/b", store.create("a/b", content_type="a/b", encrypted=False))
    store.put_fragment("a/fragment", Buffer(b"x"), encrypted=False)
    part = put(store, upload, 1, 0, b"data")
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "files" / "a").iterdir()} == {0o640}
    store.complete(upload, [part], crc32=0)
    assert (tmp_path / "files" / "a" / "b").stat().st_mode & 0o777 == 0o440
