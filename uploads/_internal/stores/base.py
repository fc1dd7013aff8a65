"""The store interface: few methods, no policy.

Every method may be called again after an unknown outcome. A store raises ``StoreUnavailable`` if an operation failed
or its outcome is not known (``unknown``). It raises ``UploadGone`` if it no longer knows the upload.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.core.checks import CheckMessage

from uploads._internal import conf
from uploads._internal.parts import MAX_OBJECT_SIZE, MAX_PARTS, UploadPlan
from uploads._internal.stores import facts
from uploads._internal.stores.buffer import Buffer
from uploads._internal.stores.facts import Facts


@dataclass(frozen=True)
class SignedUrl:
    """A URL for one part, with the headers that its signature requires. Never stored or logged."""

    url: str = field(repr=False)
    headers: dict[str, str]


@dataclass(frozen=True)
class Upload:
    """A multipart upload: the final name of the object and the store's upload id."""

    name: str
    id: str


@dataclass(frozen=True)
class Part:
    """A stored part, as listed when the object is completed."""

    number: int
    size: int
    crc32: int | None
    """None if the store reported no checksum of a copied part.

    The checksum of the whole file covers it.
    """
    etag: str


@dataclass(frozen=True)
class StoredObject:
    """The properties of a finished object, as reported by the store."""

    size: int
    crc32: int | None
    """The CRC-32 of the full object, or None if the store keeps no such checksum."""
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
"""The methods of a storage that read or write file contents."""


def overridden(storage: object, base: type) -> list[str]:
    """Return the names in ``BYTES`` that the storage's class overrides."""
    return [name for name in BYTES if getattr(type(storage), name) is not getattr(base, name)]


_STRENGTH = ("", "AES256", "aws:kms", "aws:kms:dsse", "SSE-C")
"""Kinds of server-side encryption. Each is at least as strong as the ones before it."""


def encrypted_well_enough(found: str, wanted: str) -> bool:
    """Return True if the encryption ``found`` is the one ``wanted`` or a stronger one."""
    if found == wanted:
        return bool(found)
    return found in _STRENGTH and wanted in _STRENGTH and _STRENGTH.index(found) > _STRENGTH.index(wanted)


class Store(ABC):
    min_part_size: int = 1
    """Minimum size in bytes of every part but the last."""
    supports_encryption: bool = False
    """True if the store can encrypt objects at rest."""

    limits_parts: bool = False
    """True if ``max_parts`` limits an upload, so that a larger file needs several uploads."""
    alias: str = ""
    """The alias in ``STORAGES`` of the storage that the store writes to."""

    facts: Facts | None = None
    """Known facts about the store; None until ``get_store`` has read them from the database."""
    _known_as: str = ""
    learned: bool = False
    """True if this process learned a fact that is not in the database yet."""

    writes_anywhere: bool = False
    """True if data of any size is written at its file offset, without part numbers."""
    late_writes: bool = True
    """True if a write can still arrive after its sender has ended."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """The unique name of the store on all hosts, under which its facts are saved."""

    def share_facts(self) -> None:
        """Load the store's facts once, and save newly learned ones; raise django.db.Error."""
        identity = self.identity  # Not cached: a portal's tests change the directory of a storage.
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
        """Discard the detected capabilities, so that the doctor detects them again."""
        facts.forget_capabilities(self.identity)
        if self.facts is not None:
            self.facts.capabilities.clear()

    def largest_upload(self, plan: UploadPlan) -> int:
        """Return the maximum size in bytes of one multipart upload."""
        return self.max_parts * plan.part_size if self.limits_parts else MAX_OBJECT_SIZE

    def configured(self, capability: str) -> Any:
        """Return the value of a capability in the settings, or None."""
        return conf.current().STORES.get(self.alias, {}).get(capability)

    @property
    def max_parts(self) -> int:
        """The maximum number of parts in an upload."""
        return self.configured("MAX_PARTS") or MAX_PARTS

    def capabilities(self) -> dict[str, Any]:
        """Return the known capabilities in the format of the setting ``STORES``."""
        return {}

    @property
    def encrypts(self) -> bool:
        """True if requested encryption at rest takes effect.

        Raises StoreUnavailable if this cannot be determined.
        """
        return self.supports_encryption

    @property
    def composes(self) -> bool:
        """True if parts can be copied from other objects.

        Raises StoreUnavailable if this cannot be determined.
        """
        return False

    def copy_part(self, upload: Upload, *, number: int, source: str, start: int, size: int, whole: bool) -> Part:
        """Create part ``number`` by copying a range of another object.

        The range has ``size`` bytes of ``source`` from byte ``start``; ``whole`` means that it is the entire object.
        The returned part has a CRC-32 if the store reports one.
        """
        raise NotImplementedError

    @abstractmethod
    def create(
        self, name: str, *, content_type: str, encrypted: bool, disposition: str = "", checked: bool = True
    ) -> str:
        """Begin the upload of an object called ``name``; return the store's upload id.

        A store that serves objects uses the given content type and Content-Disposition.
        """

    def writing(self, upload: Upload) -> AbstractContextManager[object]:
        """Block other writers of this upload, if a late part would damage a newer one."""
        return nullcontext()

    @abstractmethod
    def put_part(self, upload: Upload, *, number: int, offset: int, data: Buffer) -> tuple[str, bool]:
        """Store ``data`` as part ``number``, which starts at byte ``offset`` of the file.

        Returns the ETag, and True if no other attempt at this call can arrive later.

        If the store can, it refuses data whose CRC-32 differs from the buffer's.
        """

    def sync(self, upload: Upload) -> None:
        """Make the parts stored so far durable. A chunk is acknowledged only after this."""

    @abstractmethod
    def complete(self, upload: Upload, parts: Sequence[Part], *, crc32: int | None) -> None:
        """Assemble the object from its parts. May be repeated; only ``stat`` shows the outcome.

        ``crc32`` is the CRC-32 of the whole file, None if unknown.
        """

    @abstractmethod
    def stat(self, name: str) -> StoredObject | None:
        """Return the object's properties, or None if it does not exist."""

    def require_reachable(self, name: str) -> None:
        """Raise StoreUnavailable or StoreRefused if the store appears unable to store anything now."""
        self.stat(name)

    @abstractmethod
    def abort(self, upload: Upload) -> None:
        """Discard the upload and its parts. A missing upload is no error."""

    @abstractmethod
    def put_fragment(self, name: str, data: Buffer, *, encrypted: bool) -> None:
        """Store ``data`` as a separate object, because it is too small for a part."""

    @abstractmethod
    def read(self, name: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Yield the object's bytes, or ``size`` bytes from byte ``start``; also for downloads."""

    @property
    def takes_checksums(self) -> bool:
        """False if the store takes parts without checksums only."""
        return True

    def sign_part(
        self, upload: Upload, *, number: int, size: int, crc32: int | None, seconds: int, endpoint: str
    ) -> SignedUrl | None:
        """Return a URL to which a client may PUT a part, or None if the store has none.

        It is valid for ``seconds``, and for exactly ``size`` bytes with this CRC-32. ``endpoint`` is the store's public
        address; empty if it is that of the storage.
        """
        return None

    def add_cors_rule(self, rule: dict[str, Any]) -> bool:
        """Add a CORS rule to the bucket; return False if it has the rule, or if the store has no buckets."""
        return False

    def link(self, name: str, *, seconds: int, content_type: str, disposition: str) -> str | None:
        """Return a public URL, valid for ``seconds``, or None if the store has none."""
        return None

    @abstractmethod
    def delete(self, names: Iterable[str]) -> None:
        """Delete objects. A missing object is no error."""

    @abstractmethod
    def list_uploads(self, prefix: str) -> Iterator[FoundUpload]:
        """Yield the unfinished multipart uploads whose names begin with ``prefix``. Only audits use this.

        Raises StoreRefused if the store does not list them.
        """

    @abstractmethod
    def list_objects(self, prefix: str) -> Iterator[FoundObject]:
        """Yield the finished objects and fragments whose names begin with ``prefix``. Only audits use this."""

    @abstractmethod
    def list_fragments(self, name: str) -> Iterator[str]:
        """Yield the names of all fragments of the object ``name``."""

    def list_parts(self, upload: Upload) -> dict[int, Part] | None:
        """Return the upload's stored parts by number, or None if the store cannot list them.

        Raises UploadGone if the store does not know the upload.
        """
        return None

    @abstractmethod
    def upload_size(self, upload: Upload) -> int | None:
        """Return the total size of the stored parts, or None for an unknown upload."""

    def clock_problems(self) -> Iterator[str]:
        """Yield a sentence if the store's clock differs from this host's, even if the store refuses all requests."""
        return iter(())

    def diagnose(self, prefix: str, lifetime: timedelta) -> Iterator[str]:
        """Yield problems that only a request to the store reveals.

        They concern uploads under ``prefix``, by sessions of the given lifetime.
        """
        return iter(())

    def check(self) -> list[CheckMessage]:
        """Return system check messages about the storage's configuration, without any I/O."""
        return []

    def transformations(self) -> list[str]:
        """Return the storage's features that change file contents. Uploads bypass them."""
        return []
