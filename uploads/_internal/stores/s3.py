"""The store on django-storages' ``S3Storage``: parts of a multipart upload, by the storage's own boto3 client.

Client, bucket, location and object parameters are the portal's; nothing of them is configured twice.
Per file: CreateMultipartUpload, one UploadPart per part, CompleteMultipartUpload, HeadObject. Never a list,
a copy or a rename.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from botocore.exceptions import BotoCoreError, ClientError
from django.core.checks import CheckMessage, Warning
from storages.backends.s3 import S3Storage
from storages.utils import clean_name, safe_join

from uploads._internal import conf
from uploads._internal.forks import after_fork
from uploads._internal.parts import MIN_PART_SIZE
from uploads._internal.stores.base import (
    FoundObject,
    FoundUpload,
    Part,
    Store,
    StoredObject,
    Upload,
    encrypted_well_enough,
    overridden,
)
from uploads._internal.stores.buffer import Buffer
from uploads._internal.stores.facts import Facts
from uploads._internal.stores.names import fragments_prefix, probe_under
from uploads._internal.stores.s3_calls import (
    COMPLETION_REFUSED,
    errors_translated,
    has_code,
    has_no_such_call,
    is_unclear,
    is_unknown_path,
    members,
    refuses_checksums,
    send_own_checksums,
    watch,
)
from uploads.exceptions import StoreRefused, StoreUnavailable, UploadError, UploadGone

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

READ_SIZE = 2**20
DELETED_AT_ONCE = 1000
"""Objects of one DeleteObjects call (S3: DeleteObjects)."""
OURS = frozenset({"Bucket", "Key", "Body", "ChecksumAlgorithm", "ChecksumType", "ContentLength", "ContentMD5"})
"""Parameters that are this store's business."""
NOT_FOR_FRAGMENTS = frozenset({"StorageClass", "Tagging"})
"""These would make the fragments of files expensive to read and to delete, as do locks on them."""

LARGEST_SKEW = 30
"""Seconds."""
SAFE_AGE = timedelta(days=7)
"""Lifecycle rules count from an upload's beginning, however busy it is: a large file on a slow line takes days."""

__all__ = ["S3Storage", "S3Store"]

_stores: WeakSet[S3Store] = WeakSet()


@after_fork
def _reset() -> None:
    for store in list(_stores):
        store._forget_connections()  # noqa: SLF001 - this module's


class S3Store(Store):
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
    def composes(self) -> bool:
        return self._probe("composes", self._copy_something)

    def _copy_something(self) -> bool:
        """Try it out: make an object of a copy of a part of another one."""
        source, name = (probe_under(conf.current().OBJECT_PREFIX) for _ in range(2))
        upload: Upload | None = None
        # Of smaller objects no range is copied (S3: UploadPartCopy).
        data, copied = Buffer(b"decomposed".ljust(MIN_PART_SIZE + 3)), Buffer(b"composed".ljust(MIN_PART_SIZE + 1))
        try:
            self.put_fragment(source, data, encrypted=False)
            upload = Upload(name, self.create(name, content_type="application/octet-stream", encrypted=False))
            part = self.copy_part(upload, number=1, source=source, start=2, size=len(copied), whole=False)
            self.complete(upload, [part], crc32=copied.crc32)
            return next(iter(self.read(name, start=0, size=8))) == b"composed"
        except (StoreRefused, UploadGone):
            return False
        except StoreUnavailable as error:
            if has_no_such_call(error.__cause__):
                return False
            raise
        finally:
            with suppress(UploadError):
                if upload is not None:
                    self.abort(upload)
                self.delete([source, name])

    @property
    def encrypts(self) -> bool:
        return self._probe(self._encryption, self._encrypt_something)

    @property
    def _encryption(self) -> str:
        config = conf.current()
        return f"encrypts {config.ENCRYPTION} {config.ENCRYPTION_KEY_ID}"

    def _encrypt_something(self) -> bool:
        """Try it out: store a tiny object and look whether it says that it is encrypted."""
        name = probe_under(conf.current().OBJECT_PREFIX)
        try:
            self.put_fragment(name, Buffer(b"secret"), encrypted=True)
            stored = self.stat(name)
        except StoreRefused:
            return False
        finally:
            with suppress(UploadError):
                self.delete([name])
        return stored is not None and encrypted_well_enough(stored.encryption, conf.current().ENCRYPTION)

    @property
    def takes_checksums(self) -> bool:
        """Whether checksums are sent; found out by the first call that carries one."""
        return self._known("checksums") is not False

    def create(self, name: str, *, content_type: str, encrypted: bool, disposition: str = "") -> str:
        ours = {"ContentType": content_type} | ({"ContentDisposition": disposition} if disposition else {})
        parameters = ours | self._parameters("CreateMultipartUpload", name)
        if encrypted:
            parameters = _encrypted(parameters)
        with errors_translated():
            answer = self._checked(
                self.client.create_multipart_upload,
                {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"},
                **self._address(name),
                **parameters,
            )
        return str(answer["UploadId"])

    def put_part(self, upload: Upload, *, number: int, offset: int, data: Buffer) -> tuple[str, bool]:
        with errors_translated():
            answer = self._checked(
                self.client.upload_part,
                {"ChecksumCRC32": _encode(data.crc32)},
                **self._address(upload.name),
                **self._parameters("UploadPart", upload.name),
                UploadId=upload.id,
                PartNumber=number,
                Body=data,
            )
        if not answer.get("ETag"):
            raise StoreUnavailable
        return str(answer["ETag"]), not is_unclear()

    def copy_part(self, upload: Upload, *, number: int, source: str, start: int, size: int, whole: bool) -> Part:
        # Not of a whole object: S3 copies no range of one that has 5 MiB at most.
        some: dict[str, Any] = {} if whole else {"CopySourceRange": f"bytes={start}-{start + size - 1}"}
        with errors_translated():
            answer = self.client.upload_part_copy(
                **self._address(upload.name),
                **self._parameters("UploadPartCopy", upload.name),
                UploadId=upload.id,
                PartNumber=number,
                CopySource={"Bucket": self.storage.bucket_name, "Key": self._address(source)["Key"]},
                **some,
            )
        copied: Any = answer.get("CopyPartResult", {})
        if not copied.get("ETag"):
            raise StoreUnavailable
        told = copied.get("ChecksumCRC32")
        return Part(number, size, _decode(told) if told else None, str(copied["ETag"]))

    def complete(self, upload: Upload, parts: Sequence[Part], *, crc32: int) -> None:
        listed: list[dict[str, Any]] = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        checked = [
            entry | ({} if part.crc32 is None else {"ChecksumCRC32": _encode(part.crc32)})
            for entry, part in zip(listed, parts, strict=True)
        ]

        def call(**parameters: Any) -> Any:
            parts = {"Parts": checked if "ChecksumCRC32" in parameters else listed}
            return self.client.complete_multipart_upload(**parameters, MultipartUpload=parts)  # type: ignore[arg-type]

        with errors_translated(refused=COMPLETION_REFUSED):
            self._checked(
                call,
                {"ChecksumCRC32": _encode(crc32), "ChecksumType": "FULL_OBJECT"},
                capability="checksum_completion",  # Some stores that take them of parts refuse them of the whole.
                **self._address(upload.name),
                **self._parameters("CompleteMultipartUpload", upload.name),
                UploadId=upload.id,
            )

    def stat(self, name: str) -> StoredObject | None:
        try:
            with errors_translated(missing=KeyError):
                answer: Any = self._checked_reading(
                    self.client.head_object, **self._address(name), **self._parameters("HeadObject", name)
                )
        except KeyError:
            if self._is_missing(name):
                return None
            raise StoreUnavailable from None  # something before the store said it
        checksum = answer.get("ChecksumCRC32", "")
        # A composite one, which older stores do not call so, is that of the parts' checksums.
        full = answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT" and "-" not in checksum
        return StoredObject(
            size=answer["ContentLength"],
            crc32=_decode(checksum) if checksum and full else None,
            encryption=answer.get("ServerSideEncryption", "") or ("SSE-C" if "SSECustomerAlgorithm" in answer else ""),
        )

    def require_reachable(self, name: str) -> None:
        with errors_translated():
            self.client.head_bucket(Bucket=self.storage.bucket_name)

    def _is_missing(self, name: str) -> bool:
        """Tell whether the store itself says that there is no such object: the answer to a HEAD has no code."""
        try:
            with errors_translated(missing=KeyError):
                self.client.get_object(**self._address(name), **self._parameters("GetObject", name), Range="bytes=0-0")
        except KeyError:
            return True
        except StoreUnavailable:
            pass
        return False

    def abort(self, upload: Upload) -> None:
        with suppress(UploadGone), errors_translated():
            self.client.abort_multipart_upload(**self._address(upload.name), UploadId=upload.id)

    def put_fragment(self, name: str, data: Buffer, *, encrypted: bool) -> None:
        given = self._parameters("PutObject", name)
        parameters = {
            key: value
            for key, value in given.items()
            if key not in NOT_FOR_FRAGMENTS and not key.startswith(("ObjectLock", "Grant"))
        }
        if encrypted:
            parameters = _encrypted(parameters)
        with errors_translated():
            self._checked(
                self.client.put_object,
                {"ChecksumCRC32": _encode(data.crc32)},
                **self._address(name),
                **parameters,
                Body=data,
            )

    def read(self, name: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        # A range that starts behind the last byte is an error in HTTP, so all of an empty object has none.
        some: dict[str, Any] = (
            {"Range": f"bytes={start}-{'' if size is None else start + size - 1}"} if start or size else {}
        )
        parameters = self._parameters("GetObject", name)
        with errors_translated():
            answer = self._checked_reading(self.client.get_object, **self._address(name), **parameters, **some)
            yield from answer["Body"].iter_chunks(READ_SIZE)

    def link(self, name: str, *, seconds: int, content_type: str, disposition: str) -> str | None:
        shown = {"ResponseContentType": content_type, "ResponseContentDisposition": disposition}
        parameters = {**self._parameters("GetObject", name), **self._address(name), **shown}
        if any(key.startswith("SSECustomer") for key in parameters):
            return None  # The key would have to be given away.
        return str(self.client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds))

    def delete(self, names: Iterable[str]) -> None:
        waiting = iter(names)
        while batch := list(islice(waiting, DELETED_AT_ONCE)):
            if len(batch) == 1 or self._known("deletes_many") is False or not self._delete_together(batch):
                for name in batch:
                    with suppress(KeyError), errors_translated(missing=KeyError):
                        self.client.delete_object(**self._address(name))

    def _delete_together(self, names: list[str]) -> bool:
        """Delete objects by one call; False where the store has no such call."""
        keys: Any = [{"Key": self._address(name)["Key"]} for name in names]
        try:
            with errors_translated():
                answer = self.client.delete_objects(
                    Bucket=self.storage.bucket_name, Delete={"Objects": keys, "Quiet": True}
                )
        except (StoreRefused, StoreUnavailable) as error:
            if isinstance(error, StoreRefused) or has_no_such_call(error.__cause__):
                self._learn("deletes_many", value=False)
                return False
            raise
        self._learn("deletes_many", value=True)
        if any(problem.get("Code") != "NoSuchKey" for problem in answer.get("Errors", [])):
            raise StoreUnavailable
        return True

    def list_uploads(self, prefix: str) -> Iterator[FoundUpload]:
        for found in self._pages("list_multipart_uploads", "Uploads", prefix):
            yield FoundUpload(Upload(self._name(found["Key"]), found["UploadId"]), found["Initiated"])

    def list_objects(self, prefix: str) -> Iterator[FoundObject]:
        for found in self._pages("list_objects_v2", "Contents", prefix):
            yield FoundObject(self._name(found["Key"]), found["Size"], found["LastModified"])

    def list_fragments(self, name: str) -> Iterator[str]:
        for found in self._pages("list_objects_v2", "Contents", fragments_prefix(name), whole_folders=False):
            yield self._name(found["Key"])

    def list_parts(self, upload: Upload) -> dict[int, Part] | None:
        if self._known("lists_parts") is False:
            return None
        pages = self.client.get_paginator("list_parts").paginate(**self._address(upload.name), UploadId=upload.id)
        try:
            with errors_translated():
                found = {part.number: part for page in pages for part in map(_listed, page.get("Parts", []))}
        except UploadGone:
            self._learn("lists_parts", value=True)
            raise
        except UploadError as error:
            if has_no_such_call(error.__cause__):
                self._learn("lists_parts", value=False)
                return None
            if is_unknown_path(error.__cause__):  # It may have been a proxy's.
                return None
            raise
        self._learn("lists_parts", value=True)
        return found

    def upload_size(self, upload: Upload) -> int | None:
        try:
            return sum(part.size for part in (self.list_parts(upload) or {}).values())
        except UploadGone:
            return None

    def diagnose(self, prefix: str, lifetime: timedelta) -> Iterator[str]:
        with errors_translated():
            answer = self.client.head_bucket(Bucket=self.storage.bucket_name)
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        skew = abs((parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()) if date else 0
        if skew > LARGEST_SKEW:
            yield f"this host's clock and the store's differ by {skew:.0f} s; S3 refuses requests at 900 s: run NTP"
        rules = self._rules()
        for rule in rules:
            yield from self._rule_problems(rule, prefix, lifetime)
        if self._keeps_versions() and not any(
            rule["Status"] == "Enabled" and "NoncurrentVersionExpiration" in rule for rule in rules
        ):
            yield (
                "the bucket keeps versions, so every deleted fragment is kept and billed: add a lifecycle rule with "
                "NoncurrentVersionExpiration (and ExpiredObjectDeleteMarker) for the prefix of the uploads"
            )

    def _rules(self) -> list[Any]:
        try:
            return list(self.client.get_bucket_lifecycle_configuration(Bucket=self.storage.bucket_name)["Rules"])
        except (ClientError, BotoCoreError):
            return []  # There are none, or this user may not see them.

    def _keeps_versions(self) -> bool:
        try:
            return bool(self.client.get_bucket_versioning(Bucket=self.storage.bucket_name).get("Status"))
        except (ClientError, BotoCoreError):
            return False

    def _rule_problems(self, rule: Any, prefix: str, lifetime: timedelta) -> Iterator[str]:
        """Yield what a lifecycle rule would do to live uploads."""
        chosen = rule.get("Filter", {})
        concerned = {**rule, **chosen, **chosen.get("And", {})}.get("Prefix", "")
        ours = self._address(prefix)["Key"] + "/"
        if rule["Status"] != "Enabled" or not (ours.startswith(concerned) or concerned.startswith(ours)):
            return
        name = rule.get("ID", "without a name")
        days = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
        if days is not None and timedelta(days=days) < max(SAFE_AGE, lifetime):
            yield (
                f"the lifecycle rule {name} aborts uploads {days} days after they began, also those still running: "
                f"make it {SAFE_AGE.days} days or leave it to the expiry task"
            )
        if "Expiration" in rule and rule["Expiration"].keys() & {"Days", "Date"}:
            yield f"the lifecycle rule {name} deletes finished files: {rule['Expiration']}"

    def _pages(self, operation: Any, member: str, prefix: str, *, whole_folders: bool = True) -> Iterator[Any]:
        key = safe_join(self.storage.location, clean_name(prefix)) + ("/" if whole_folders else "")
        pages = self.client.get_paginator(operation).paginate(Bucket=self.storage.bucket_name, Prefix=key)
        with errors_translated():
            for page in pages:
                yield from page.get(member, [])

    def _name(self, key: str) -> str:
        """Return the storage's name of a key."""
        return key.removeprefix(f"{self.storage.location.strip('/')}/") if self.storage.location else key

    def transformations(self) -> list[str]:
        return [*overridden(self.storage, S3Storage), *(["gzip"] if self.storage.gzip else [])]

    def check(self) -> list[CheckMessage]:
        return list(self._check())

    def _check(self) -> Iterator[CheckMessage]:
        if not self.storage.bucket_name:
            yield Warning("The S3 storage for uploads has no bucket_name.", id="uploads.W001")
        config = getattr(self.storage, "client_config", None)
        if config is not None and (config.s3 or {}).get("payload_signing_enabled") is not False:
            yield Warning(
                "boto3 hashes each part with SHA-256 to sign it, over HTTPS too, though the part carries a CRC-32.",
                hint='client_config: Config(s3={"payload_signing_enabled": False}), if the way there is trusted.',
                id="uploads.W005",
            )
        given = set(self.storage.object_parameters) if isinstance(self.storage.object_parameters, Mapping) else set()
        if strange := sorted(given - members("CreateMultipartUpload") - OURS):
            yield Warning(
                f"Multipart uploads do not take these of the storage's object_parameters: {', '.join(strange)}.",
                hint="Files that come through upload sessions are stored without them.",
                id="uploads.W006",
            )

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


def _encrypted(given: dict[str, Any]) -> dict[str, Any]:
    """Return parameters that encrypt as the app's settings say, unless the portal's own are as strong or stronger."""
    config = conf.current()
    if "SSECustomerKey" in given or encrypted_well_enough(given.get("ServerSideEncryption", ""), config.ENCRYPTION):
        return given
    others = {name: value for name, value in given.items() if not name.startswith("SSEKMS")}
    key = {"SSEKMSKeyId": config.ENCRYPTION_KEY_ID} if config.ENCRYPTION_KEY_ID else {}
    return {**others, "ServerSideEncryption": config.ENCRYPTION, **key}


def _encode(crc32: int) -> str:
    return base64.b64encode(crc32.to_bytes(4, "big")).decode("ascii")


def _decode(checksum: str) -> int:
    return int.from_bytes(base64.b64decode(checksum), "big")


def _listed(found: Any) -> Part:
    told = found.get("ChecksumCRC32")
    return Part(found["PartNumber"], found["Size"], _decode(told) if told else None, found["ETag"])
