"""Test stores that refuse features, ignore them or answer with other error codes."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.files.base import ContentFile
from django.core.files.storage import storages

from tests.data import MIB, some_bytes
from tests.helpers import Uploader, chunk_of
from tests.proxy import Action, Answer, Call, Proxy, of_a_proxy, refuse, refuses_checksums, with_code, with_header
from uploads._internal import doctor, sessions
from uploads._internal.stores import get_store
from uploads._internal.stores.base import Store, Upload
from uploads._internal.stores.buffer import Buffer
from uploads.models import State, StoreRecord, UploadSession

OpenSession = Callable[..., UploadSession]
Change = Callable[..., None]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_chunks")]
ALWAYS = 10**6


@pytest.fixture
def without_checksums(proxy: Proxy) -> Proxy:
    proxy.rules.append(refuses_checksums(400, "InvalidArgument"))
    return proxy


@pytest.mark.parametrize("known", [{}, {"CHECKSUMS": False}], ids=["found-out", "configured"])
def test_upload_works_without_checksum_support(
    without_checksums: Proxy, open_session: OpenSession, uploads_settings: Change, known: dict[str, bool]
) -> None:
    uploads_settings(STORES={"default": known})
    data = [b"a" * 6 * MIB, b"b" * MIB, b"c"]
    session = open_session(sum(map(len, data)))
    for block in data:
        session = sessions.receive(session, chunk_of(block))
    assert session.state == State.COMPLETED, session.failure
    assert b"".join(get_store("default").read(session.object_name)) == b"".join(data)


def test_refusal_of_required_checksums_is_reported(
    without_checksums: Proxy, uploader: Uploader, uploads_settings: Change
) -> None:
    uploads_settings(STORES={"default": {"CHECKSUMS": True}})
    answer = uploader.send(uploader.create(3), b"abc")
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "storage_refused")
    assert "InvalidArgument" in answer.json()["message"]


def test_checksums_are_sent_by_default(proxy: Proxy, open_session: OpenSession) -> None:
    sessions.receive(open_session(3), chunk_of(b"abc"))
    sent = dict(proxy.headers)
    assert "x-amz-checksum-crc32" in sent["UploadPart"]
    assert "x-amz-checksum-crc32" in sent["CompleteMultipartUpload"]


def test_doctor_names_a_missing_permission(proxy: Proxy) -> None:
    def forbidden_if_missing(call: Call) -> Answer:
        answer = call.forward()
        return with_code(403, "403")(call) if answer.status == 404 else answer

    proxy.inject("HeadObject", forbidden_if_missing, times=ALWAYS)
    assert any("s3:ListBucket" in finding.text for finding in doctor.examine() if not finding.ok)


# Parameters of the portal


@pytest.fixture
def with_parameters(impatient: dict[str, Any], proxy: Proxy, use_storage: Callable[..., Store]) -> Callable[..., Store]:
    def with_parameters(**parameters: Any) -> Store:
        options = impatient["OPTIONS"] | {"object_parameters": parameters}
        return use_storage({**impatient, "OPTIONS": options})

    return with_parameters


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        pytest.param({}, ("AES256", None), id="none"),
        pytest.param({"SSEKMSKeyId": "their-key"}, ("AES256", None), id="a-key-alone"),
        pytest.param(
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "their-key"}, ("aws:kms", "their-key"), id="stronger"
        ),
    ],
)
def test_stronger_encryption_wins(
    with_parameters: Callable[..., Store], proxy: Proxy, given: dict[str, str], sent: tuple[str, str | None]
) -> None:
    proxy.inject("CreateMultipartUpload", refuse)
    with pytest.raises(Exception, match="not available"):
        with_parameters(**given).create("x", content_type="a/b", encrypted=True)
    headers = proxy.headers[-1][1]
    prefix = "x-amz-server-side-encryption"
    assert (headers[prefix], headers.get(f"{prefix}-aws-kms-key-id")) == sent


def test_object_parameters_reach_supported_requests_only(with_parameters: Callable[..., Store], proxy: Proxy) -> None:
    store = with_parameters(
        ObjectLockMode="GOVERNANCE", StorageClass="GLACIER", CacheControl="no-store", ContentType="text/x-own"
    )
    proxy.inject("CreateMultipartUpload", refuse)
    with pytest.raises(Exception, match="not available"):
        store.create("x", content_type="a/b", encrypted=False)
    created = proxy.headers[-1][1]
    assert [created[name] for name in ("x-amz-object-lock-mode", "x-amz-storage-class", "cache-control")] == [
        *("GOVERNANCE", "GLACIER", "no-store")
    ]
    assert created["content-type"] == "text/x-own"
    store.put_fragment("y", Buffer(b"fragment"), encrypted=False)
    assert not {"x-amz-object-lock-mode", "x-amz-storage-class"} & set(proxy.headers[-1][1])
    store.delete(["y"])


def test_unsupported_object_parameters_are_reported(with_parameters: Callable[..., Store]) -> None:
    with_parameters(IfNoneMatch="*")
    assert "uploads.W006" in [message.id for message in run_checks(tags=["uploads"])]


def test_storage_with_signed_payloads_is_reported(
    s3_storage: dict[str, Any], use_storage: Callable[..., Store]
) -> None:
    from botocore.config import Config

    use_storage({**s3_storage, "OPTIONS": s3_storage["OPTIONS"] | {"client_config": Config()}})
    assert "uploads.W005" in [message.id for message in run_checks(tags=["uploads"])]


# Encryption


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        pytest.param("HeadObject", with_header("x-amz-server-side-encryption", None), id="stores-plaintext"),
        pytest.param("PutObject", with_code(501, "NotImplemented"), id="does-not-know"),
    ],
)
def test_missing_encryption_is_detected_before_upload(
    proxy: Proxy, uploader: Uploader, s3_keys: Callable[[], set[str]], kind: str, action: Action
) -> None:
    proxy.inject(kind, action, times=ALWAYS)
    asked = []
    for _ in range(2):
        answer = uploader.api.post(uploader.url, {"FileName": "a", "FileSize": 3, "Encrypted": True}, format="json")
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "encryption_unsupported")
        asked.append(proxy.calls["PutObject"])
    assert asked[0] == asked[1]
    assert s3_keys() == set()


@pytest.mark.parametrize("word", [True, False])
def test_encrypts_setting_overrides_the_probe(
    proxy: Proxy, uploader: Uploader, uploads_settings: Change, word: bool
) -> None:
    uploads_settings(STORES={"default": {"ENCRYPTS": word}})
    answer = uploader.api.post(uploader.url, {"FileName": "a", "FileSize": 3, "Encrypted": True}, format="json")
    assert (answer.status_code, proxy.calls["PutObject"]) == (200 if word else 400, 0)


def test_plaintext_object_is_removed(proxy: Proxy, open_session: OpenSession, s3_keys: Callable[[], set[str]]) -> None:
    session = open_session(3, encrypted=True)
    proxy.inject("HeadObject", with_header("x-amz-server-side-encryption", None))
    assert sessions.receive(session, chunk_of(b"abc")).state == State.FAILED
    assert s3_keys() == set()


# Responses


def test_store_refusal_reason_is_kept(proxy: Proxy, open_session: OpenSession) -> None:
    proxy.inject("CompleteMultipartUpload", with_code(400, "EntityTooSmall"))
    failed = sessions.receive(open_session(3), chunk_of(b"abc"))
    assert failed.state == State.FAILED
    assert "EntityTooSmall" in failed.failure


def test_composite_checksum_is_not_compared(proxy: Proxy, open_session: OpenSession) -> None:
    def composite(call: Call) -> Answer:
        answer = with_header("x-amz-checksum-crc32", "AAAAAA==-2")(call)
        answer.headers = [pair for pair in answer.headers if pair[0].lower() != "x-amz-checksum-type"]
        return answer

    proxy.inject("HeadObject", composite)
    assert sessions.receive(open_session(3), chunk_of(b"abc")).state == State.COMPLETED


@pytest.mark.parametrize("answer", [(404, "NoSuchKey"), (404, ""), (405, "MethodNotAllowed"), (501, "NotImplemented")])
def test_unusual_error_codes_are_tolerated(proxy: Proxy, uploader: Uploader, answer: tuple[int, str]) -> None:
    session = uploader.create(12 * MIB)
    proxy.inject("ListParts", with_code(*answer), times=ALWAYS)
    assert sessions.audit(fix=True) is not None
    assert list(doctor.examine())
    if answer[0] == 404:
        proxy.inject("UploadPart", with_code(*answer))
        status = uploader.send_raw(session, bytes(6 * MIB)).status_code
        assert status == (410 if answer[1] == "NoSuchKey" else 503)


@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize(
    "kind", ["CreateMultipartUpload", "PutObject", "UploadPart", "CompleteMultipartUpload", "HeadObject"]
)
def test_proxy_errors_are_temporary(proxy: Proxy, uploader: Uploader, kind: str, status: int) -> None:
    """Only S3's own error codes may end a session."""
    proxy.inject(kind, of_a_proxy(status), times=6)
    answers = []

    def attempt(call: Callable[[], Any]) -> Any:
        for _ in range(9):
            answers.append(answer := call())
            if answer.status_code < 300 and answer.status_code != 202:
                return answer
            UploadSession.objects.update(retry_at=None)
        return answers[-1]

    fields = {"FileName": "a.bin", "FileSize": 12 * MIB}
    created = attempt(lambda: uploader.api.post(uploader.url, fields, format="json"))
    session = created.json()["response"]["data"]
    data = some_bytes(12 * MIB)
    for start, end in ((0, 2 * MIB), (2 * MIB, 9 * MIB), (9 * MIB, 12 * MIB)):
        done = attempt(lambda start=start, end=end: uploader.send_raw(session, data[start:end]))  # type: ignore[misc]
    assert {answer.status_code for answer in answers} <= {200, 201, 202, 503}
    assert len(answers) > 4
    assert uploader.download(done) == data


@pytest.mark.parametrize(
    ("status", "code", "reads_only"),
    [
        pytest.param(403, "SignatureDoesNotMatch", False, id="google"),
        pytest.param(400, "InvalidRequest", False, id="refused"),
        pytest.param(501, "NotImplemented", False, id="not-implemented"),
        pytest.param(400, "InvalidArgument", True, id="reads"),
    ],
)
def test_each_process_detects_missing_checksum_support(
    proxy: Proxy,
    impatient: dict[str, Any],
    use_storage: Any,
    uploader: Uploader,
    status: int,
    code: str,
    *,
    reads_only: bool,
) -> None:
    """Without the shared record, each process has to detect missing support again."""
    proxy.rules.append(refuses_checksums(status, code, reads_only=reads_only))
    session, data = uploader.create(12 * MIB), some_bytes(12 * MIB)
    assert uploader.send_raw(session, data[: 6 * MIB]).status_code == 200
    StoreRecord.objects.all().delete()
    use_storage(impatient)
    done = uploader.send_raw(session, data[6 * MIB :])
    assert done.status_code == 201, done.content
    StoreRecord.objects.all().delete()
    use_storage(impatient)
    assert uploader.download(done) == data


def test_detected_capabilities_are_shared(
    proxy: Proxy, impatient: dict[str, Any], use_storage: Any, uploader: Uploader
) -> None:
    proxy.rules.append(refuses_checksums(400, "InvalidRequest"))
    uploader.send(uploader.create(3), b"abc")
    uploader.create(1)  # The next request stores the detected capabilities.
    use_storage(impatient)
    proxy.headers.clear()
    assert uploader.send(uploader.create(3), b"abc").status_code == 201
    assert not [name for _, headers in proxy.headers for name in headers if name.startswith("x-amz-checksum")]


def test_abort_of_missing_upload_succeeds(proxy: Proxy, open_session: OpenSession) -> None:
    session = open_session(3)
    proxy.inject("AbortMultipartUpload", with_code(404, "NoSuchKey"))
    assert sessions.abort(session).storage_released


# Deletes


@pytest.mark.parametrize(
    ("action", "calls"),
    [
        pytest.param(None, {"DeleteObjects": 1}, id="together"),
        pytest.param(with_code(501, "NotImplemented"), {"DeleteObjects": 1, "DeleteObject": 3}, id="not-known"),
        pytest.param(with_code(405, "MethodNotAllowed"), {"DeleteObjects": 1, "DeleteObject": 3}, id="not-allowed"),
        pytest.param(with_code(403, "AccessDenied"), {"DeleteObjects": 1, "DeleteObject": 3}, id="denied"),
    ],
)
def test_bulk_deletion_falls_back_to_single_calls(proxy: Proxy, action: Action | None, calls: dict[str, int]) -> None:
    store, names = get_store("default"), [f"deletes/{number}" for number in range(3)]
    for name in names:
        store.put_fragment(name, Buffer(b"x"), encrypted=False)
    if action:
        proxy.inject("DeleteObjects", action)
    store.delete([*names])
    assert all(store.stat(name) is None for name in names)
    assert {kind: proxy.calls[kind] for kind in ("DeleteObjects", "DeleteObject") if proxy.calls[kind]} == calls


@pytest.fixture
def aborted(proxy: Proxy) -> Iterator[Upload]:
    store = get_store("default")
    upload = Upload("doctor/x", store.create("doctor/x", content_type="a/b", encrypted=False))
    yield upload
    store.abort(upload)


def test_doctor_cleans_up_after_failed_step(
    proxy: Proxy, s3_keys: Callable[[], set[str]], s3_uploads: Callable[[], set[str]]
) -> None:
    proxy.inject("GetObject", refuse, times=3)
    assert any("does not work" in finding.text for finding in doctor.examine() if not finding.ok)
    assert (s3_keys(), s3_uploads()) == (set(), set())


def test_portal_can_still_save_files(proxy: Proxy, open_session: OpenSession) -> None:
    """The portal shares the boto3 client, which transfers files in separate threads."""
    sessions.receive(open_session(3), chunk_of(b"abc"))
    name = storages["default"].save("own.txt", ContentFile(b"the portal's own"))
    with storages["default"].open(name) as file:
        assert file.read() == b"the portal's own"
    storages["default"].delete(name)


# Capabilities


def test_doctor_prints_capabilities_as_settings(
    proxy: Proxy, uploader: Uploader, open_session: OpenSession, uploads_settings: Change
) -> None:
    """Capabilities in the settings are not probed again."""
    proxy.inject("UploadPartCopy", with_code(501, "NotImplemented"), times=100)
    (line,) = (finding.text for finding in doctor.examine() if '"STORES"' in finding.text)
    stores = ast.literal_eval(line.partition('"STORES": ')[2])
    assert stores["default"] == {
        "CHECKSUMS": True,
        "COMPOSES": False,
        "DELETES_MANY": True,
        "ENCRYPTS": True,
        "LISTS_PARTS": True,
        "MAX_PARTS": 10_000,
    }
    StoreRecord.objects.all().delete()
    uploads_settings(STORES=stores)
    proxy.calls.clear()
    answer = uploader.api.post(uploader.url, {"FileName": "a", "FileSize": 2**40 * 40}, format="json")
    assert answer.json()["error"]["type"] == "file_too_large"
    assert not proxy.calls


def test_bulk_deletion_is_tried_once(proxy: Proxy) -> None:
    proxy.inject("DeleteObjects", with_code(501, "NotImplemented"), times=100)
    for _ in range(2):
        get_store("default").delete(["none", "neither"])
    assert (proxy.calls["DeleteObjects"], proxy.calls["DeleteObject"]) == (1, 4)


# Full, skewed, encrypted with the portal's key


@pytest.mark.parametrize(
    ("status", "code"), [(507, "InsufficientStorage"), (507, "XMinioStorageFull"), (403, "QuotaExceeded")]
)
def test_full_store_is_reported(proxy: Proxy, uploader: Uploader, status: int, code: str) -> None:
    session = uploader.create(12 * MIB)
    proxy.inject("UploadPart", with_code(status, code), times=6)
    answer = uploader.send_raw(session, bytes(6 * MIB))
    assert (answer.status_code, answer.json()["error"]["type"]) == (507, "storage_full")
    proxy.heal()
    assert uploader.send_raw(session, bytes(6 * MIB)).status_code == 200


def test_doctor_reports_clock_of_refusing_store(proxy: Proxy) -> None:
    def refused(_: Call) -> Answer:
        answer = with_code(403, "RequestTimeTooSkewed")(_)
        date = format_datetime(datetime.now(UTC) + timedelta(minutes=20), usegmt=True)
        answer.headers.append(("Date", date))
        return answer

    proxy.rules.append(refused)
    found = [finding.text for finding in doctor.examine() if not finding.ok]
    assert any(re.search("clock.* differ by (1199|1200) s", text) for text in found), found


def test_publication_needs_no_request_to_the_store(
    proxy: Proxy, open_session: OpenSession, uploads_settings: Change
) -> None:
    """With SSE-C, HEAD needs the customer's key, which a FileField does not send."""
    uploads_settings(
        DESTINATION=None,
        DESTINATIONS={
            "default": {"BACKEND": "uploads.destinations.ModelDestination", "OPTIONS": {"model": "portal.Document"}}
        },
    )
    session = open_session(3)
    heads = proxy.calls["HeadObject"]
    session = sessions.receive(session, chunk_of(b"abc"))
    assert session.state == State.COMPLETED, session.failure
    assert proxy.calls["HeadObject"] - heads == 1  # the app's own verification
    assert (session.result or {})["details"]["size"] == 3
