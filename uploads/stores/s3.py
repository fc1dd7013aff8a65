"""The store on django-storages' ``S3Storage``: parts of a multipart upload, by the storage's own boto3 client.

Client, bucket, location and object parameters are the portal's; nothing of them is configured twice.
Per file: CreateMultipartUpload, one UploadPart per part, CompleteMultipartUpload, HeadObject. Never a list,
a copy or a rename.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
)
from django.core.checks import CheckMessage, Warning
from storages.backends.s3 import S3Storage
from storages.utils import clean_name, safe_join

from uploads import conf
from uploads.exceptions import StoreUnavailable, UploadGone
from uploads.parts import MIN_PART_SIZE
from uploads.stores.base import FoundObject, FoundUpload, Part, Store, StoredObject, Upload
from uploads.stores.buffer import Buffer
from uploads.stores.names import piece_of, pieces_prefix

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

READ_SIZE = 2**20
MULTIPART_PARAMETERS = frozenset(
    {"ACL", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "Metadata", "RequestPayer"}
    | {"StorageClass", "Tagging", "ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled", "ExpectedBucketOwner"}
)
"""The object parameters of the portal that CreateMultipartUpload and PutObject both take."""

LARGEST_SKEW = 30
"""Seconds."""
SAFE_AGE = timedelta(days=7)
"""Lifecycle rules count from an upload's beginning, however busy it is: a large file on a slow line takes days."""

_GONE = frozenset({"NoSuchUpload"})
_REFUSED = _GONE | {"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "BadDigest", "InvalidRequest"}
"""Answers to CompleteMultipartUpload that no repetition will change."""
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})


__all__ = ["S3Storage", "S3Store"]


class S3Store(Store):
    min_part_size = MIN_PART_SIZE
    supports_encryption = True
    takes_parts_in_any_order = True

    def __init__(self, storage: S3Storage) -> None:
        self.storage = storage
        self._client: S3Client | None = None
        self._making_client = threading.Lock()
        self._allows_strays: bool | None = None
        self._probing = threading.Lock()

    @property
    def client(self) -> S3Client:
        """Return the storage's client; made at first use, because making it reads credentials.

        Made once: each takes 30 MiB, and the first requests of a process often come together.
        """
        with self._making_client:
            if self._client is None:
                client = self.storage.connection.meta.client
                for operation in _COUNTED:
                    client.meta.events.register(f"needs-retry.s3.{operation}", _note_attempt)
                self._client = client
        return self._client

    @property
    def allows_strays(self) -> bool:
        configured = conf.current().STRAY_PARTS
        if configured is not None:
            return configured
        with self._probing:
            if self._allows_strays is None:
                self._allows_strays = self._complete_with_stray()
        return self._allows_strays

    def _complete_with_stray(self) -> bool:
        """Try it out: store two parts and complete with one of them."""
        name = piece_of(f"{conf.current().OBJECT_PREFIX}/probe")
        upload = Upload(name, self.create(name, content_type="application/octet-stream", encrypted=False))
        try:
            named, stray = Buffer(b"named"), Buffer(b"stray")
            etag = self.put_part(upload, number=1, offset=0, data=named)
            self.put_part(upload, number=2, offset=0, data=stray)
            self.complete(upload, [Part(1, len(named), named.crc32, etag)], crc32=named.crc32)
        except UploadGone:
            return False
        finally:
            with suppress(StoreUnavailable):
                self.abort(upload)
                self.delete([name])
        return True

    def create(self, name: str, *, content_type: str, encrypted: bool) -> str:
        parameters = self._object_parameters(name, encrypted=encrypted)
        with _errors_translated():
            answer = self.client.create_multipart_upload(
                **self._address(name),
                ContentType=content_type,
                ChecksumAlgorithm="CRC32",
                ChecksumType="FULL_OBJECT",
                **parameters,
            )
        return answer["UploadId"]

    def put_part(self, upload: Upload, *, number: int, offset: int, data: Buffer) -> str:
        with _errors_translated():
            answer = self.client.upload_part(
                **self._address(upload.name),
                UploadId=upload.id,
                PartNumber=number,
                Body=data,  # type: ignore[arg-type]  # boto3 takes whatever reads and seeks
                ChecksumCRC32=_encode(data.crc32),
            )
        if not answer.get("ETag"):
            raise StoreUnavailable
        return answer["ETag"]

    def complete(self, upload: Upload, parts: Sequence[Part], *, crc32: int) -> None:
        listed = [
            {"PartNumber": part.number, "ETag": part.etag, "ChecksumCRC32": _encode(part.crc32)} for part in parts
        ]
        with _errors_translated(final=_REFUSED):
            self.client.complete_multipart_upload(
                **self._address(upload.name),
                UploadId=upload.id,
                ChecksumCRC32=_encode(crc32),
                ChecksumType="FULL_OBJECT",
                MultipartUpload={"Parts": listed},  # type: ignore[typeddict-item]
            )

    def stat(self, name: str) -> StoredObject | None:
        try:
            with _errors_translated():
                answer = self.client.head_object(**self._address(name), ChecksumMode="ENABLED")
        except KeyError:
            return None
        full = answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        checksum = answer.get("ChecksumCRC32") if full else None
        return StoredObject(
            size=answer["ContentLength"],
            crc32=_decode(checksum) if checksum else None,
            encryption=answer.get("ServerSideEncryption", ""),
        )

    def abort(self, upload: Upload) -> None:
        # Some stores call an upload that is no more a missing object.
        with suppress(UploadGone, KeyError), _errors_translated():
            self.client.abort_multipart_upload(**self._address(upload.name), UploadId=upload.id)

    def put_piece(self, name: str, data: Buffer, *, encrypted: bool) -> None:
        parameters = self._object_parameters(name, encrypted=encrypted)
        with _errors_translated():
            self.client.put_object(
                **self._address(name),
                Body=data,  # type: ignore[arg-type]  # as above
                ChecksumCRC32=_encode(data.crc32),
                **parameters,
            )

    def read(self, name: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        # A range that starts behind the last byte is an error in HTTP, so all of an empty object has none.
        some: dict[str, Any] = (
            {"Range": f"bytes={start}-{'' if size is None else start + size - 1}"} if start or size else {}
        )
        try:
            with _errors_translated():
                yield from self.client.get_object(**self._address(name), **some)["Body"].iter_chunks(READ_SIZE)
        except KeyError as error:
            raise UploadGone from error

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(KeyError), _errors_translated():
                self.client.delete_object(**self._address(name))

    def list_uploads(self, prefix: str) -> Iterator[FoundUpload]:
        for found in self._pages("list_multipart_uploads", "Uploads", prefix):
            yield FoundUpload(Upload(self._name(found["Key"]), found["UploadId"]), found["Initiated"])

    def list_objects(self, prefix: str) -> Iterator[FoundObject]:
        for found in self._pages("list_objects_v2", "Contents", prefix):
            yield FoundObject(self._name(found["Key"]), found["Size"], found["LastModified"])

    def list_pieces(self, name: str) -> Iterator[str]:
        for found in self._pages("list_objects_v2", "Contents", pieces_prefix(name), whole_folders=False):
            yield self._name(found["Key"])

    def upload_size(self, upload: Upload) -> int | None:
        pages = self.client.get_paginator("list_parts").paginate(**self._address(upload.name), UploadId=upload.id)
        try:
            with _errors_translated():
                return sum(part["Size"] for page in pages for part in page.get("Parts", []))
        except (UploadGone, KeyError):
            return None

    def diagnose(self, prefix: str, lifetime: timedelta) -> Iterator[str]:
        with _errors_translated():
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
                "the bucket keeps versions, so every deleted piece is kept and billed: add a lifecycle rule with "
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
        with _errors_translated():
            for page in pages:
                yield from page.get(member, [])

    def _name(self, key: str) -> str:
        """Return the storage's name of a key."""
        return key.removeprefix(f"{self.storage.location.strip('/')}/") if self.storage.location else key

    def check(self) -> list[CheckMessage]:
        if self.storage.bucket_name:
            return []
        return [Warning("The S3 storage for uploads has no bucket_name.", id="uploads.W001")]

    def _address(self, name: str) -> dict[str, Any]:
        return {"Bucket": self.storage.bucket_name, "Key": safe_join(self.storage.location, clean_name(name))}

    def _object_parameters(self, name: str, *, encrypted: bool) -> dict[str, Any]:
        parameters = {"ACL": self.storage.default_acl} if self.storage.default_acl else {}
        parameters |= self.storage.get_object_parameters(name)
        if encrypted:
            parameters["ServerSideEncryption"] = conf.current().ENCRYPTION
            if key := conf.current().ENCRYPTION_KEY_ID:
                parameters["SSEKMSKeyId"] = key
        return {name: value for name, value in parameters.items() if name in MULTIPART_PARAMETERS}


_COUNTED = ("UploadPart", "PutObject")
_NEVER_SENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)
_attempts = threading.local()


def _note_attempt(response: Any, caught_exception: Exception | None = None, **_: Any) -> None:
    """Note, for each attempt that boto3 makes of a call, whether the store may have done it."""
    if response is not None:
        # Refusals are clear; after these nobody knows how far the store, or a proxy before it, got.
        _attempts.unknown |= response[0].status_code in (408, 500, 502, 504)
    elif not isinstance(caught_exception, _NEVER_SENT):
        _attempts.unknown = True


@contextmanager
def _errors_translated(final: frozenset[str] = _GONE) -> Iterator[None]:
    """Raise UploadGone for the codes in ``final``, KeyError for a missing object, else StoreUnavailable."""
    _attempts.unknown = False
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in _MISSING:
            raise KeyError(code) from error
        if code in final:
            raise UploadGone from error
        raise StoreUnavailable(unknown=_attempts.unknown) from error
    except (BotoCoreError, HTTPClientError) as error:
        raise StoreUnavailable(unknown=_attempts.unknown) from error


def _encode(crc32: int) -> str:
    return base64.b64encode(crc32.to_bytes(4, "big")).decode("ascii")


def _decode(checksum: str) -> int:
    return int.from_bytes(base64.b64decode(checksum), "big")
