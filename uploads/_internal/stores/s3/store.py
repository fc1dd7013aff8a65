"""The store on django-storages' ``S3Storage``, based on multipart uploads.

It uses the boto3 client, bucket, location and object parameters of the portal's storage; nothing is configured twice.
Calls per multipart upload: CreateMultipartUpload, one UploadPart per part, CompleteMultipartUpload, HeadObject. It
needs no list, copy or rename.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from django.core.checks import CheckMessage
from storages.backends.s3 import S3Storage
from storages.utils import clean_name, safe_join

from uploads._internal import conf
from uploads._internal.stores.base import (
    FoundObject,
    FoundUpload,
    Part,
    SignedUrl,
    StoredObject,
    Upload,
    encrypted_well_enough,
    overridden,
)
from uploads._internal.stores.buffer import Buffer
from uploads._internal.stores.names import fragments_prefix
from uploads._internal.stores.s3 import diagnosis
from uploads._internal.stores.s3.calls import (
    COMPLETION_REFUSED,
    errors_translated,
    has_no_such_call,
    is_denied,
    is_unclear,
    is_unknown_path,
)
from uploads._internal.stores.s3.capabilities import S3Capabilities
from uploads._internal.stores.s3.connection import OURS, encode
from uploads.exceptions import StoreRefused, StoreUnavailable, UploadError, UploadGone

READ_SIZE = 2**20
DELETED_AT_ONCE = 1000
"""Maximum number of objects in one DeleteObjects call (S3: DeleteObjects)."""
NOT_FOR_FRAGMENTS = frozenset({"StorageClass", "Tagging"})
"""Parameters that would make fragments expensive to read and to delete, as object locks would."""

__all__ = ["S3Storage", "S3Store"]


class S3Store(S3Capabilities):
    """Store parts in multipart uploads, and fragments as separate objects."""

    def create(
        self, name: str, *, content_type: str, encrypted: bool, disposition: str = "", checked: bool = True
    ) -> str:
        ours = {"ContentType": content_type} | ({"ContentDisposition": disposition} if disposition else {})
        parameters = ours | self._parameters("CreateMultipartUpload", name)
        if encrypted:
            parameters = _encrypted(parameters)
        with errors_translated():
            answer = self._checked(
                self.client.create_multipart_upload,
                {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"} if checked else {},
                **self._address(name),
                **parameters,
            )
        return str(answer["UploadId"])

    def put_part(self, upload: Upload, *, number: int, offset: int, data: Buffer) -> tuple[str, bool]:
        with errors_translated():
            answer = self._checked(
                self.client.upload_part,
                {"ChecksumCRC32": encode(data.crc32)},
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
        # A whole object is copied without a range, because S3 copies no ranges of objects up to 5 MiB.
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
        checksum = copied.get("ChecksumCRC32")
        return Part(number, size, _decode(checksum) if checksum else None, str(copied["ETag"]))

    def complete(self, upload: Upload, parts: Sequence[Part], *, crc32: int | None) -> None:
        listed: list[dict[str, Any]] = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        checked = [
            entry | ({} if part.crc32 is None else {"ChecksumCRC32": encode(part.crc32)})
            for entry, part in zip(listed, parts, strict=True)
        ]

        def call(**parameters: Any) -> Any:
            parts = {"Parts": checked if "ChecksumCRC32" in parameters else listed}
            return self.client.complete_multipart_upload(**parameters, MultipartUpload=parts)  # type: ignore[arg-type]

        with errors_translated(refused=COMPLETION_REFUSED):
            self._checked(
                call,
                {} if crc32 is None else {"ChecksumCRC32": encode(crc32), "ChecksumType": "FULL_OBJECT"},
                capability="checksum_completion",  # Some stores accept checksums of parts only.
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
            raise StoreUnavailable from None  # The 404 came from a proxy, not from the store.
        checksum = answer.get("ChecksumCRC32", "")
        # A composite checksum is computed from the parts' checksums. Older stores do not report its type.
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
        """Return True if the store itself reports a missing object.

        This makes a GET request, because the response to a HEAD request has no code.
        """
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
                {"ChecksumCRC32": encode(data.crc32)},
                **self._address(name),
                **parameters,
                Body=data,
            )

    def read(self, name: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        # HTTP forbids a range that starts behind the last byte. A whole object may be empty, so it has no range.
        some: dict[str, Any] = (
            {"Range": f"bytes={start}-{'' if size is None else start + size - 1}"} if start or size else {}
        )
        parameters = self._parameters("GetObject", name)
        with errors_translated():
            answer = self._checked_reading(self.client.get_object, **self._address(name), **parameters, **some)
            yield from answer["Body"].iter_chunks(READ_SIZE)

    def sign_part(
        self, upload: Upload, *, number: int, size: int, crc32: int | None, seconds: int, endpoint: str
    ) -> SignedUrl | None:
        parameters = {**self._parameters("UploadPart", upload.name), **self._address(upload.name)}
        if any(key.startswith("SSECustomer") for key in parameters):
            return None  # The client would need the secret key.
        checksum, headers = {}, {}
        if crc32 is not None and self.takes_checksums:
            checksum, headers = {"ChecksumCRC32": encode(crc32)}, {"x-amz-checksum-crc32": encode(crc32)}
        given = {"UploadId": upload.id, "PartNumber": number, "ContentLength": size}
        url = self.signing_client(endpoint).generate_presigned_url(
            "upload_part", Params={**parameters, **given, **checksum}, ExpiresIn=seconds
        )
        return SignedUrl(str(url), headers)

    def add_cors_rule(self, rule: dict[str, Any]) -> bool:
        with errors_translated():
            return diagnosis.add_cors_rule(self.client, self.storage.bucket_name, rule)

    def link(self, name: str, *, seconds: int, content_type: str, disposition: str) -> str | None:
        shown = {"ResponseContentType": content_type, "ResponseContentDisposition": disposition}
        parameters = {**self._parameters("GetObject", name), **self._address(name), **shown}
        if any(key.startswith("SSECustomer") for key in parameters):
            return None  # The link would need the secret key.
        return str(self.client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds))

    def delete(self, names: Iterable[str]) -> None:
        waiting = iter(names)
        while batch := list(islice(waiting, DELETED_AT_ONCE)):
            together = len(batch) > 1 and self._known("deletes_many") is not False
            if together and self._delete_together(batch):
                continue
            for name in batch:
                with suppress(KeyError), errors_translated(missing=KeyError):
                    self.client.delete_object(**self._address(name))
            if together:
                self._learn("deletes_many", value=False)

    def _delete_together(self, names: list[str]) -> bool:
        """Delete objects with one call; return False if the store has no such call."""
        keys: Any = [{"Key": self._address(name)["Key"]} for name in names]
        try:
            with errors_translated():
                answer = self.client.delete_objects(
                    Bucket=self.storage.bucket_name, Delete={"Objects": keys, "Quiet": True}
                )
        except (StoreRefused, StoreUnavailable) as error:
            cause = error.__cause__
            if isinstance(error, StoreRefused) or has_no_such_call(cause) or is_denied(cause):
                return False
            raise
        self._learn("deletes_many", value=True)
        if any(problem.get("Code") != "NoSuchKey" for problem in answer.get("Errors", [])):
            raise StoreUnavailable
        return True

    def list_uploads(self, prefix: str) -> Iterator[FoundUpload]:
        try:
            for found in self._pages("list_multipart_uploads", "Uploads", prefix):
                yield FoundUpload(Upload(self._name(found["Key"]), found["UploadId"]), found["Initiated"])
        except StoreUnavailable as error:
            if not has_no_such_call(error.__cause__):
                raise
            raise StoreRefused(reason="it does not list multipart uploads") from error

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
            if is_unknown_path(error.__cause__):  # The 404 may come from a proxy.
                return None
            raise
        self._learn("lists_parts", value=True)
        return found

    def upload_size(self, upload: Upload) -> int | None:
        try:
            return sum(part.size for part in (self.list_parts(upload) or {}).values())
        except UploadGone:
            return None

    def _pages(self, operation: Any, member: str, prefix: str, *, whole_folders: bool = True) -> Iterator[Any]:
        key = safe_join(self.storage.location, clean_name(prefix)) + ("/" if whole_folders else "")
        pages = self.client.get_paginator(operation).paginate(Bucket=self.storage.bucket_name, Prefix=key)
        with errors_translated():
            for page in pages:
                yield from page.get(member, [])

    def _name(self, key: str) -> str:
        """Return the storage's name for a key."""
        return key.removeprefix(f"{self.storage.location.strip('/')}/") if self.storage.location else key

    def transformations(self) -> list[str]:
        return [*overridden(self.storage, S3Storage), *(["gzip"] if self.storage.gzip else [])]

    def check(self) -> list[CheckMessage]:
        return list(diagnosis.settings_warnings(self.storage, OURS))

    def clock_problems(self) -> Iterator[str]:
        try:
            response: Any = self.client.head_bucket(Bucket=self.storage.bucket_name)
        except ClientError as error:
            response = error.response  # A store that refuses because of the clock tells its own.
        except BotoCoreError:
            return
        yield from diagnosis.clock_problems(response["ResponseMetadata"]["HTTPHeaders"].get("date"))

    def diagnose(self, prefix: str, lifetime: timedelta) -> Iterator[str]:
        yield from self.clock_problems()
        yield from diagnosis.bucket_problems(
            self.client, self.storage.bucket_name, self._address(prefix)["Key"] + "/", lifetime
        )


def _encrypted(given: dict[str, Any]) -> dict[str, Any]:
    """Return parameters with the app's encryption, unless the given ones are at least as strong."""
    config = conf.current()
    if "SSECustomerKey" in given or encrypted_well_enough(given.get("ServerSideEncryption", ""), config.ENCRYPTION):
        return given
    others = {name: value for name, value in given.items() if not name.startswith("SSEKMS")}
    key = {"SSEKMSKeyId": config.ENCRYPTION_KEY_ID} if config.ENCRYPTION_KEY_ID else {}
    return {**others, "ServerSideEncryption": config.ENCRYPTION, **key}


def _decode(checksum: str) -> int:
    return int.from_bytes(base64.b64decode(checksum), "big")


def _listed(found: Any) -> Part:
    checksum = found.get("ChecksumCRC32")
    return Part(found["PartNumber"], found["Size"], _decode(checksum) if checksum else None, found["ETag"])
