"""The store on Django's ``FileSystemStorage``.

A file is written under a hidden name beside its final one, synced to disk for every chunk, and renamed when it is
complete. It is never copied, and no reader sees a partial file.
"""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from django.core.checks import CheckMessage, Warning
from django.core.files.storage import FileSystemStorage

from uploads._internal.stores.base import FoundObject, FoundUpload, Part, Store, StoredObject, Upload, overridden
from uploads._internal.stores.buffer import Buffer
from uploads._internal.stores.names import SIGNATURE, fragments_prefix
from uploads.exceptions import StoreFull, StoreUnavailable, UploadGone

try:
    import fcntl
except ImportError:  # Windows has no flock. Two hosts must not share a directory there.
    flock = None
else:
    flock = fcntl.flock

READ_SIZE = 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT)
OWNER = 0o600
"""An unfinished file can be written by its owner, even if the storage makes files read-only."""
MARKER = ".upload-sessions"
"""The file that marks a storage's directory. Its content is also in the database."""


class FileSystemStore(Store):
    writes_anywhere = True
    late_writes = False

    def __init__(self, storage: FileSystemStorage) -> None:
        self.storage = storage

    @property
    def identity(self) -> str:
        return f"directory {self.storage.location}"

    def check(self) -> list[CheckMessage]:
        if self.storage.base_location:
            return []
        text = f"STORAGES[{self.alias!r}] has no location, so files are stored in the working directory."
        return [Warning(text, hint="Set MEDIA_ROOT, or the storage's option location.", id="uploads.W019")]

    def transformations(self) -> list[str]:
        return overridden(self.storage, FileSystemStorage)

    def share_facts(self) -> None:
        """Mark the directory on first use.

        If the marker is missing later, the file system is not mounted.
        """
        super().share_facts()
        if self.facts is not None and not self.facts.marker:
            self.facts.marker = self._mark()
            self.learned = True
            super().share_facts()

    def require_reachable(self, name: str) -> None:
        super().require_reachable(name)
        if not os.access(self.storage.location, os.W_OK):
            raise StoreUnavailable from PermissionError(self.storage.location)

    def _mark(self) -> str:
        location = Path(self.storage.location)
        marker = location / MARKER
        try:
            self._make_directory(location)
            if not marker.exists():
                # Linking a complete file is atomic. Another host may do the same; the first link counts.
                own = location / f"{MARKER}.{uuid.uuid4().hex}"
                own.write_text(uuid.uuid4().hex)
                _sync(own)
                with suppress(FileExistsError):
                    _link(own, marker)
                own.unlink(missing_ok=True)
                _sync(location)
            written = marker.read_text()
        except OSError as error:
            raise StoreUnavailable from error
        if not written:
            raise StoreUnavailable
        return written

    @contextmanager
    def _mounted(self) -> Iterator[None]:
        """Access the directory only if it has the right marker.

        Raises StoreUnavailable otherwise, and UploadGone for a missing file. An unmounted file system leaves an empty
        directory, in which all files would seem to be missing.
        """
        try:
            if self.facts is not None and self.facts.marker:
                marker = Path(self.storage.location) / MARKER
                if not marker.exists() or marker.read_text() != self.facts.marker:
                    message = f"{marker} is not the file that was written there: is the file system mounted?"
                    raise OSError(message)
            yield
        except FileNotFoundError as error:
            raise UploadGone from error
        except OSError as error:
            raise StoreFull if error.errno in _FULL else StoreUnavailable from error

    def create(
        self, name: str, *, content_type: str, encrypted: bool, disposition: str = "", checked: bool = True
    ) -> str:
        upload = Upload(name, uuid.uuid4().hex)
        hidden = self._hidden(upload)
        with self._mounted():
            self._make_directory(hidden.parent)
            hidden.touch(exist_ok=False)
            self._set_mode(hidden, OWNER)
            _sync(hidden.parent)
        return upload.id

    @contextmanager
    def writing(self, upload: Upload) -> Iterator[None]:
        hidden = self._hidden(upload)
        with self._mounted(), hidden.open("rb") as file:
            if flock is not None:
                flock(file, fcntl.LOCK_EX)
            yield

    def put_part(self, upload: Upload, *, number: int, offset: int, data: Buffer) -> tuple[str, bool]:
        hidden = self._hidden(upload)
        with self._mounted(), hidden.open("r+b", buffering=0) as file:
            file.seek(offset)
            _write(file.fileno(), data)
        return "", True

    def sync(self, upload: Upload) -> None:
        hidden = self._hidden(upload)
        with self._mounted():
            _sync(hidden)

    def complete(self, upload: Upload, parts: Sequence[Part], *, crc32: int | None) -> None:
        hidden, final = self._hidden(upload), self._path(upload.name)
        with self._mounted():
            if final.exists() and not hidden.exists():
                return
            os.truncate(hidden, sum(part.size for part in parts))
            self._set_mode(hidden, 0)
            hidden.rename(final)
            _sync(final.parent)

    def stat(self, name: str) -> StoredObject | None:
        path = self._path(name)
        try:
            with self._mounted():
                return StoredObject(path.stat().st_size, crc32=None, encryption="")
        except UploadGone:
            return None

    def abort(self, upload: Upload) -> None:
        hidden = self._hidden(upload)
        with self._mounted():
            hidden.unlink(missing_ok=True)
            _forget_directory(hidden.parent)

    def put_fragment(self, name: str, data: Buffer, *, encrypted: bool) -> None:
        path = self._path(name)
        with self._mounted():
            self._make_directory(path.parent)
            with path.open("wb", buffering=0) as file:
                _write(file.fileno(), data)
                os.fsync(file.fileno())
            self._set_mode(path, OWNER)
            _sync(path.parent)

    def read(self, name: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        path = self._path(name)
        with self._mounted(), path.open("rb", buffering=0) as file:
            file.seek(start)
            remaining = self.storage.size(name) - start if size is None else size
            while block := file.read(min(READ_SIZE, remaining)):
                remaining -= len(block)
                yield block

    def delete(self, names: Iterable[str]) -> None:
        for path in map(self._path, names):
            with self._mounted():
                path.unlink(missing_ok=True)
                _forget_directory(path.parent)

    def list_uploads(self, prefix: str) -> Iterator[FoundUpload]:
        for path, found in self._files(prefix):
            final, _, upload_id = path.name[1:].rpartition(".")
            if path.name.startswith(".") and final:
                yield FoundUpload(Upload(self._name(path.with_name(final)), upload_id), _modified(found))

    def list_objects(self, prefix: str) -> Iterator[FoundObject]:
        for path, found in self._files(prefix):
            if not path.name.startswith("."):
                yield FoundObject(self._name(path), found.st_size, _modified(found))

    def list_fragments(self, name: str) -> Iterator[str]:
        final = self._path(name)
        with self._mounted():
            found = list(final.parent.iterdir()) if final.parent.is_dir() else []
        beginning = fragments_prefix(final.name)
        for entry in found:
            if entry.name.startswith(beginning):
                yield self._name(entry)

    def upload_size(self, upload: Upload) -> int | None:
        hidden = self._hidden(upload)
        try:
            with self._mounted():
                return hidden.stat().st_size
        except UploadGone:
            return None

    def _files(self, prefix: str) -> Iterator[tuple[Path, os.stat_result]]:
        root = self._path(prefix)
        with self._mounted():
            for directory, _, names in os.walk(root):
                for name in names:
                    path = Path(directory) / name
                    try:
                        found = path.stat()
                    except FileNotFoundError:
                        continue  # Deleted since the directory was read.
                    yield path, found

    def _name(self, path: Path) -> str:
        return path.relative_to(self.storage.location).as_posix()

    def _path(self, name: str) -> Path:
        return Path(self.storage.path(name))

    def _hidden(self, upload: Upload) -> Path:
        final = self._path(upload.name)
        return final.with_name(f".{final.name}.{upload.id}")

    def _set_mode(self, path: Path, more: int) -> None:
        if self.storage.file_permissions_mode is not None:
            path.chmod(self.storage.file_permissions_mode | more)

    def _make_directory(self, directory: Path) -> None:
        mode = self.storage.directory_permissions_mode
        missing = [path for path in (directory, *directory.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            if mode is not None:
                path.chmod(mode)


def _link(path: Path, name: Path) -> None:
    """Link a file to a second name; rename it if links are unsupported."""
    try:
        os.link(path, name)
    except FileExistsError:
        raise
    except OSError:
        path.rename(name)


def _is_of_one_session(directory: Path) -> bool:
    return re.fullmatch(SIGNATURE, directory.name) is not None


def _forget_directory(directory: Path) -> None:
    """Remove a session's directory if it is empty. Other directories belong to the portal."""
    if _is_of_one_session(directory):
        with suppress(OSError):
            directory.rmdir()


def _write(descriptor: int, data: Buffer) -> None:
    """Write all of ``data``. The system may write less in one call."""
    for block in data:
        view = block
        while view:
            view = view[os.write(descriptor, view) :]


def _modified(found: os.stat_result) -> datetime:
    return datetime.fromtimestamp(found.st_mtime, UTC)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open directories, and writes only to directories that are already on disk.
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
