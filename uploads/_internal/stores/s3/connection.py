"""The connection to S3: the storage's own boto3 client, and calls with optional checksums."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from botocore.config import Config
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
"""Parameters that only this store sets."""

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
        self._signing: dict[str, S3Client] = {}
        self._making_client = threading.Lock()
        self._probing = threading.Lock()
        _stores.add(self)

    def _forget_connections(self) -> None:
        """Discard the connections of the parent process after a fork.

        Two processes that read from one socket receive each other's responses.
        """
        self._making_client, self._probing = threading.Lock(), threading.Lock()
        self._client = None
        self._signing = {}
        self.storage._connections = threading.local()  # noqa: SLF001 - django-storages has no other way

    @property
    def identity(self) -> str:
        return f"bucket {self.storage.bucket_name} at {self.storage.endpoint_url or 'AWS'}"

    def _known(self, capability: str) -> bool | None:
        """Return a capability from the settings, else as detected, else None."""
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
        """Return True if the store has a capability; if this is unknown, try it once.

        Errors of the trial do not concern the client's upload, so all of them become StoreUnavailable.
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
        """The storage's client, created at first use because this reads credentials.

        It is created only once: each client takes 30 MiB, and the first requests of a process often arrive together.
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

    def signing_client(self, endpoint: str) -> S3Client:
        """Return a client that signs URLs for the store's public ``endpoint``; empty means the storage's own.

        It signs with SigV4 whatever the storage uses, because only SigV4 binds the length and the checksum.
        """
        with self._making_client:
            if endpoint not in self._signing:
                storage = self.storage
                config = storage.client_config or Config()
                self._signing[endpoint] = storage._create_session().client(  # noqa: SLF001 - there is no other way
                    "s3",
                    region_name=storage.region_name,
                    use_ssl=storage.use_ssl,
                    endpoint_url=endpoint or storage.endpoint_url,
                    config=config.merge(Config(signature_version="s3v4")),
                    verify=storage.verify,
                )
            return self._signing[endpoint]

    @property
    def _encryption(self) -> str:
        config = conf.current()
        return f"encrypts {config.ENCRYPTION} {config.ENCRYPTION_KEY_ID}"

    @property
    def takes_checksums(self) -> bool:
        """True unless the settings or an earlier call showed that the store refuses checksums."""
        return self._known("checksums") is not False

    def _address(self, name: str) -> dict[str, Any]:
        return {"Bucket": self.storage.bucket_name, "Key": safe_join(self.storage.location, clean_name(name))}

    def _parameters(self, operation: str, name: str) -> dict[str, Any]:
        """Return the portal's object parameters that the operation accepts."""
        parameters = {"ACL": self.storage.default_acl} if self.storage.default_acl else {}
        parameters |= self.storage.get_object_parameters(name)
        taken = members(operation) - OURS
        return {name: value for name, value in parameters.items() if name in taken}

    def _checked(
        self, call: Callable[..., Any], checksums: dict[str, str], *, capability: str = "checksums", **parameters: Any
    ) -> Any:
        """Make a writing call with checksums, or without them if the store refuses them."""
        if not self.takes_checksums or self._known(capability) is False:
            return call(**parameters)
        answer = self._unless_refused(capability, call, checksums, parameters)
        # Creating an upload proves nothing: some stores ignore checksums there.
        if "ChecksumCRC32" in checksums and self._known(capability) is None:
            self._learn(capability, value=True)
        return answer

    def _checked_reading(self, call: Callable[..., Any], **parameters: Any) -> Any:
        """Make a reading call that requests checksums, unless the store refuses such requests."""
        if not (self.takes_checksums and self._known("checksum_reads") is not False):
            return call(**parameters)
        answer = self._unless_refused("checksum_reads", call, {"ChecksumMode": "ENABLED"}, parameters)
        if answer.get("ChecksumCRC32"):
            self._learn("checksum_reads", value=True)
        return answer

    def _unless_refused(
        self, capability: str, call: Callable[..., Any], checksums: dict[str, str], parameters: dict[str, Any]
    ) -> Any:
        """Make a call with checksums; repeat it without them if the store refuses them.

        A refusal with an S3 code is remembered.
        """
        try:
            return call(**parameters, **checksums)
        except ClientError as error:
            if self._known(capability) or not refuses_checksums(error):
                raise
            refusal = error
        if not has_code(refusal):  # The response may come from a proxy, and only once.
            with suppress(ClientError):
                return call(**parameters, **checksums)
        if "Body" in parameters:
            parameters["Body"].seek(0)
        send_own_checksums(self.client, capability, wanted=False)
        try:
            answer = call(**parameters)
        except Exception:
            send_own_checksums(self.client, capability, wanted=True)  # They were not the reason.
            raise
        if has_code(refusal):
            self._learn(capability, value=False)
        else:
            send_own_checksums(self.client, capability, wanted=True)
        return answer


def encode(crc32: int) -> str:
    return base64.b64encode(crc32.to_bytes(4, "big")).decode("ascii")
