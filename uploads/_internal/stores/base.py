"""The store interface: few methods, no policy.

Every method may be called again after an unknown outcome. A store raises ``StoreUnavailable`` when it
did not do a thing or cannot say whether it did (``unknown``), and ``UploadGone`` when it no longer knows the upload.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.checks import CheckMessage

from uploads._internal import conf
from uploads._internal.parts import MAX_OBJECT_SIZE, MAX_PARTS, UploadPlan
from uploads._internal.stores import facts
from uploads._internal.stores.buffer import Buffer
from uploads._internal.stores.facts import Facts


@dataclass(frozen=True)
class Upload:
    """A multipart upload: the final name of the object and the store's id of the attempt."""

    name: str
    id: str


@dataclass(frozen=True)
class Part:
    """A stored part, as it is named when the object is completed."""

    number: int
    size: int
    crc32: int | None
    """None for what a store copied that did not tell: that of the whole file covers it."""
    etag: str


@dataclass(frozen=True)
class StoredObject:
    """What the store says of a finished object."""

    size: int
    crc32: int | None
    """Of the full object, or None if the store keeps no such checksum."""
    encryption: str
    """The server-side encryption algorithm, or an empty string."""


@dataclass(frozen=True)
class FoundUpload:
    """A multipart upload that the store lists."""

    upload: Upload
    since: datetime

    @property
    def name(self) -> str:
        return self.upload.name


@dataclass(frozen=True)
class FoundObject:
    """An object that the store lists."""

    name: str
    size: int
    since: datetime


BYTES = ("save", "_save", "open", "_open")
"""The methods of a storage that bytes pass, if a class overrides one."""


def overridden(storage: object, base: type) -> list[str]:
    """Return the names of the methods for bytes that a storage's class has of its own."""
    return [name for name in BYTES if getattr(type(storage), name) is not getattr(base, name)]


_STRENGTH = ("", "AES256", "aws:kms", "aws:kms:dsse", "SSE-C")
"""Kinds of server-side encryption, each as good as those before it."""


def encrypted_well_enough(found: str, wanted: str) -> bool:
    """Tell whether the encryption ``found`` is the one ``wanted`` or a stronger one."""
    if found == wanted:
        return bool(found)
    return found in _STRENGTH and wanted in _STRENGTH and _STRENGTH.index(found) > _STRENGTH.index(wanted)


class Store(ABC):
    min_part_size: int = 1
    """Bytes that every part but the last must have."""
    supports_encryption: bool = False
    """Whether the store can encrypt objects at rest."""

    limits_parts: bool = False
    """Whether an upload has at most ``max_parts`` parts, so that a larger file needs several."""
    alias: str = ""
    """Which of ``STORAGES`` the store writes to."""

    facts: Facts | None = None
    """What is known of the store; None until ``get_store`` has asked the database."""
    _known_as: str = ""
    learned: bool = False
    """Whether something became known that the database does not have yet."""

    writes_anywhere: bool = False
    """Whether bytes are written at their offset in the file, whatever their size, so that parts have no numbers."""
    late_writes: bool = True
    """Whether a write whose sender is gone can arrive later."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """What tells this store from others, on all hosts: it names what is known of the store."""

    def share_facts(self) -> None:
        """Load what is known of the store, once, and save what this process learned; raise django.db.Error."""
        identity = self.identity  # Tests of portals change the directory of a storage.
        if self.facts is None or self._known_as != identity:
            self.facts, self._known_as = facts.load(identity), identity
        if self.learned:
            saved = facts.save(identity, self.facts)
            self.learned = False
            self.facts.marker = saved.marker
            self.facts.capabilities |= {
                name: value for name, value in saved.capabilities.items() if name not in self.facts.capabilities
            }

    def forget_capabilities(self) -> None:
        """Find out anew what the store takes: for the doctor."""
        facts.forget_capabilities(self.identity)
        if self.facts is not None:
            self.facts.capabilities.clear()

    def largest_upload(self, plan: UploadPlan) -> int:
        """Return the bytes that one multipart upload takes."""
        return self.max_parts * plan.part_size if self.limits_parts else MAX_OBJECT_SIZE

    def configured(self, capability: str) -> Any:
        """Return what the settings say of a capability, None if they do not."""
        return conf.current().STORES.get(self.alias, {}).get(capability)

    @property
    def max_parts(self) -> int:
        """Parts that an upload has at most."""
        return self.configured("MAX_PARTS") or MAX_PARTS

    def capabilities(self) -> dict[str, Any]:
        """Return what is known of the store, as the setting ``STORES`` has it."""
        return {}

    @property
    def encrypts(self) -> bool:
        """Whether objects that are to be encrypted at rest are; raise StoreUnavailable if nobody can tell."""
        return self.supports_encryption

    @property
    def composes(self) -> bool:
        """Whether parts can be copied from other objects; raise StoreUnavailable if nobody can tell."""
        return False

    def copy_part(self, upload: Upload, *, number: int, source: str, start: int, size: int, whole: bool) -> Part:
        """Make the part ``number`` of ``size`` bytes of the object ``source`` from ``start`` on, or of the ``whole``.

        Returns it with its CRC-32 if the store tells that.
        """
        raise NotImplementedError

    @abstractmethod
    def create(self, name: str, *, content_type: str, encrypted: bool, disposition: str = "") -> str:
        """Begin an upload whose finished object will be called ``name``; return the store's id of it.

        Content type and Content-Disposition are what the object is to be served with, if the store serves objects.
        """

    def writing(self, upload: Upload) -> AbstractContextManager[object]:
        """Keep other writers of this upload waiting, for a store where a late part would damage a newer one."""
        return nullcontext()

    @abstractmethod
    def put_part(self, upload: Upload, *, number: int, offset: int, data: Buffer) -> tuple[str, bool]:
        """Store ``data``, the part ``number``, which starts at byte ``offset`` of the file.

        Returns its ETag, and whether no other attempt at this call can arrive later.

        The store refuses data whose CRC-32 is not the buffer's, if it can.
        """

    def sync(self, upload: Upload) -> None:
        """Make the parts put so far durable; a chunk is acknowledged only after this."""

    @abstractmethod
    def complete(self, upload: Upload, parts: Sequence[Part], *, crc32: int) -> None:
        """Make the object of its parts. May be repeated; the outcome is known only after ``stat``."""

    @abstractmethod
    def stat(self, name: str) -> StoredObject | None:
        """Return what the store says of the object, or None if there is none."""

    def require_reachable(self, name: str) -> None:
        """Raise StoreUnavailable or StoreRefused if nothing can be stored now, as far as one can see."""
        self.stat(name)

    @abstractmethod
    def abort(self, upload: Upload) -> None:
        """Drop the upload and its parts; an upload that is already gone is fine."""

    @abstractmethod
    def put_fragment(self, name: str, data: Buffer, *, encrypted: bool) -> None:
        """Store ``data`` as an object of its own, because it is too small to be a part yet."""

    @abstractmethod
    def read(self, name: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Yield the object's bytes, or ``size`` of them from byte ``start`` on; also good for downloads."""

    def link(self, name: str, *, seconds: int, content_type: str, disposition: str) -> str | None:
        """Return a URL by which anybody may read the object for so long, or None if the store has no such thing."""
        return None

    @abstractmethod
    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; missing ones are fine."""

    @abstractmethod
    def list_uploads(self, prefix: str) -> Iterator[FoundUpload]:
        """Yield the multipart uploads under way whose names begin with ``prefix``; for audits alone."""

    @abstractmethod
    def list_objects(self, prefix: str) -> Iterator[FoundObject]:
        """Yield the finished objects and fragments whose names begin with ``prefix``; for audits alone."""

    @abstractmethod
    def list_fragments(self, name: str) -> Iterator[str]:
        """Yield the names of all fragments of the object ``name``."""

    def list_parts(self, upload: Upload) -> dict[int, Part] | None:
        """Return the parts that the store holds for the upload by number, or None if it does not tell.

        Raises UploadGone if it does not know the upload.
        """
        return None

    @abstractmethod
    def upload_size(self, upload: Upload) -> int | None:
        """Return the bytes of the parts the store holds for the upload, or None if it does not know it."""

    def diagnose(self, prefix: str, lifetime: timedelta) -> Iterator[str]:
        """Yield problems of the store that only asking it can show, for sessions of that lifetime under ``prefix``."""
        return iter(())

    def check(self) -> list[CheckMessage]:
        """Return system check messages about the storage's configuration, without any I/O."""
        return []

    def transformations(self) -> list[str]:
        """Name what of the storage reads or writes other bytes than the app, which goes around it."""
        return []
