"""The connection to S3: the storage's own boto3 client, and calls with checksums where the store takes them."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from botocore.exceptions import ClientError
from storages.backends.s3 import S3Storage
from storages.utils import clean_name, safe_join

from uploads._internal import conf
from uploads._internal.forks import after_fork
from uploads._internal.parts import MIN_PART_SIZE
from uploads._internal.stores.base import (
    Store,
)
from uploads._internal.stores.facts import Facts
from uploads._internal.stores.s3.calls import (
    has_code,
    members,
    refuses_checksums,
    send_own_checksums,
    watch,
)
from uploads.exceptions import StoreUnavailable, UploadError

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

OURS = frozenset({"Bucket", "Key", "Body", "ChecksumAlgorithm", "ChecksumType", "ContentLength", "ContentMD5"})
"""Parameters that are this store's business."""

_stores: WeakSet[S3Connection] = WeakSet()


@after_fork
def _reset() -> None:
    for store in list(_stores):
        store._forget_connections()  # noqa: SLF001 - this module's


class S3Connection(Store):
    """Calls to S3 through the client, bucket, location and object parameters of the portal's storage."""

    min_part_size = MIN_PART_SIZE
    supports_encryption = True
    limits_parts = True

    def __init__(self, storage: S3Storage) -> None:
        self.storage = storage
        self._client: S3Client | None = None
        self._making_client = threading.Lock()
        self._probing = threading.Lock()
        _stores.add(self)

    def _forget_connections(self) -> None:
        """Open connections of its own in a forked process: two that read from one socket get each other's answers."""
        self._making_client, self._probing = threading.Lock(), threading.Lock()
        self._client = None
        self.storage._connections = threading.local()  # noqa: SLF001 - django-storages has no other way

    @property
    def identity(self) -> str:
        return f"bucket {self.storage.bucket_name} at {self.storage.endpoint_url or 'AWS'}"

    def _known(self, capability: str) -> bool | None:
        """Return what the settings say of a capability, else what was found out; None if neither does."""
        configured: bool | None = self.configured(capability.partition(" ")[0].upper())
        if configured is not None:
            return configured
        return self.facts.capabilities.get(capability) if self.facts else None

    def capabilities(self) -> dict[str, Any]:
        names = {name.upper(): name for name in ("checksums", "composes", "lists_parts", "deletes_many")}
        known = {name: self._known(fact) for name, fact in {**names, "ENCRYPTS": self._encryption}.items()}
        return {name: value for name, value in known.items() if value is not None} | {"MAX_PARTS": self.max_parts}

    def _learn(self, capability: str, *, value: bool) -> None:
        self.facts = self.facts or Facts()
        if self._known(capability) is not value:
            self.facts.capabilities[capability] = value
            self.learned = True

    def _probe(self, capability: str, attempt: Callable[[], bool]) -> bool:
        """Return whether the store has a capability; try it out, once, where nobody knows.

        What the trial meets is not about the client's upload: raise StoreUnavailable for all of it.
        """
        with self._probing:
            known = self._known(capability)
            if known is None:
                try:
                    known = attempt()
                except UploadError as error:
                    raise StoreUnavailable from error
                self._learn(capability, value=known)
        return known

    @property
    def client(self) -> S3Client:
        """Return the storage's client; made at first use, because making it reads credentials.

        Made once: each takes 30 MiB, and the first requests of a process often come together.
        """
        with self._making_client:
            if self._client is None:
                client = self.storage.connection.meta.client
                watch(client)
                if not self.takes_checksums:
                    send_own_checksums(client, "checksums", wanted=False)
                if self._known("checksum_reads") is False:
                    send_own_checksums(client, "checksum_reads", wanted=False)
                self._client = client
        return self._client

    @property
    def _encryption(self) -> str:
        config = conf.current()
        return f"encrypts {config.ENCRYPTION} {config.ENCRYPTION_KEY_ID}"

    @property
    def takes_checksums(self) -> bool:
        """Whether checksums are sent; found out by the first call that carries one."""
        return self._known("checksums") is not False

    def _address(self, name: str) -> dict[str, Any]:
        return {"Bucket": self.storage.bucket_name, "Key": safe_join(self.storage.location, clean_name(name))}

    def _parameters(self, operation: str, name: str) -> dict[str, Any]:
        """Return those of the portal's object parameters that the operation takes."""
        parameters = {"ACL": self.storage.default_acl} if self.storage.default_acl else {}
        parameters |= self.storage.get_object_parameters(name)
        taken = members(operation) - OURS
        return {name: value for name, value in parameters.items() if name in taken}

    def _checked(
        self, call: Callable[..., Any], checksums: dict[str, str], *, capability: str = "checksums", **parameters: Any
    ) -> Any:
        """Make a call that writes with checksums, or without where the store turns out to refuse them."""
        if not self.takes_checksums or self._known(capability) is False:
            return call(**parameters)
        answer = self._unless_refused(capability, call, checksums, parameters)
        # Some stores ignore them when an upload is created.
        if "ChecksumCRC32" in checksums and self._known(capability) is None:
            self._learn(capability, value=True)
        return answer

    def _checked_reading(self, call: Callable[..., Any], **parameters: Any) -> Any:
        """Make a call that reads and asks for checksums, or does not where the store refuses to be asked."""
        if not (self.takes_checksums and self._known("checksum_reads") is not False):
            return call(**parameters)
        answer = self._unless_refused("checksum_reads", call, {"ChecksumMode": "ENABLED"}, parameters)
        if answer.get("ChecksumCRC32"):
            self._learn("checksum_reads", value=True)
        return answer

    def _unless_refused(
        self, capability: str, call: Callable[..., Any], checksums: dict[str, str], parameters: dict[str, Any]
    ) -> Any:
        """Make a call with checksums; make it without them, and learn that, where they are what the store refuses."""
        try:
            return call(**parameters, **checksums)
        except ClientError as error:
            if self._known(capability) or not refuses_checksums(error):
                raise
            refusal = error
        if not has_code(refusal):  # It may have been a proxy's, once.
            with suppress(ClientError):
                return call(**parameters, **checksums)
        if "Body" in parameters:
            parameters["Body"].seek(0)
        send_own_checksums(self.client, capability, wanted=False)
        try:
            answer = call(**parameters)
        except Exception:
            send_own_checksums(self.client, capability, wanted=True)  # It was not because of them.
            raise
        if has_code(refusal):
            self._learn(capability, value=False)
        else:
            send_own_checksums(self.client, capability, wanted=True)
        return answer


def encode(crc32: int) -> str:
    return base64.b64encode(crc32.to_bytes(4, "big")).decode("ascii")
