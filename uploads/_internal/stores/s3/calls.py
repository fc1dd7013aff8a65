"""The parameters and the errors of calls to S3."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
)

from uploads import signals
from uploads.exceptions import StoreFull, StoreRefused, StoreUnavailable, UploadGone

_GONE = frozenset({"NoSuchUpload"})
_FULL = frozenset({"InsufficientStorage", "XMinioStorageFull", "QuotaExceeded"})
"""Codes of a store without space: AWS's and NetApp's, MinIO's, Ceph's."""
_MISSING = frozenset({"NoSuchKey"})
_PASSING = frozenset(
    {"BadDigest", "InvalidDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
    | {"RequestTimeout", "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestExpired", "SlowDown"}
)
"""Codes of temporary errors with status 400: transfer damage, timeouts, throttling and credentials."""
COMPLETION_REFUSED = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "BadDigest", "InvalidRequest"})
"""Permanent error codes of CompleteMultipartUpload."""
_OF_PARTS = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "NoSuchUpload", "NoSuchKey"})
_NO_SUCH_CALL = frozenset({405, 501})
_REFUSAL = frozenset({400, 501})

_COUNTED = ("UploadPart", "PutObject")
_NEVER_SENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)


class _Attempts(threading.local):
    unknown = False  # The default for boto3's own threads, in which the portal saves files with the same client.


_attempts = _Attempts()


def members(operation: str) -> frozenset[str]:
    """Return the names of an operation's parameters."""
    return frozenset(_service().operation_model(operation).input_shape.members)


@cache
def _service() -> Any:
    return botocore.session.get_session().get_service_model("s3")


def watch(client: Any) -> None:
    """Record for each of boto3's automatic attempts whether the store may have executed it, and time all calls."""
    events = client.meta.events
    for operation in _COUNTED:
        events.register(f"needs-retry.s3.{operation}", _note_attempt)
    events.register("before-call.s3", _begin_call)
    for ended in ("after-call.s3", "after-call-error.s3"):
        events.register(ended, _report_call)


def _begin_call(context: dict[str, Any], **_: Any) -> None:
    context["uploads_begun"] = time.monotonic()


def _report_call(context: dict[str, Any], event_name: str, **_: Any) -> None:
    begun = context.get("uploads_begun")  # None if the portal made the call before this app used the client.
    if begun is not None and signals.store_called.receivers:
        operation = event_name.rpartition(".")[2]
        signals.store_called.send_robust(None, operation=operation, seconds=time.monotonic() - begun)


_OF_BOTO3 = {
    "checksums": Config(request_checksum_calculation="when_required", response_checksum_validation="when_required"),
    "checksum_completion": Config(),
    "checksum_reads": Config(response_checksum_validation="when_required"),
}


def send_own_checksums(client: Any, capability: str, *, wanted: bool) -> None:
    """Enable or disable the optional checksums that boto3 sends and requests by default."""

    def use(context: dict[str, Any], **_: Any) -> None:
        context["client_config"] = context["client_config"].merge(_OF_BOTO3[capability])

    events = client.meta.events
    (events.unregister if wanted else events.register)("before-parameter-build.s3", use, f"uploads-no-{capability}")


def _note_attempt(response: Any, caught_exception: Exception | None = None, **_: Any) -> None:
    if response is not None:
        status, code = response[0].status_code, response[1].get("Error", {}).get("Code", "")
        # A refusal by the store itself is conclusive. After other errors, of the store or of a proxy before it, the
        # store may have executed the call.
        refused = status in (501, 503) and code and not code.isdecimal()
        _attempts.unknown |= status == 408 or (status >= 500 and not refused)
    elif not isinstance(caught_exception, _NEVER_SENT):
        _attempts.unknown = True


def is_unclear() -> bool:
    """Return True if an attempt at this thread's last call may still take effect."""
    return _attempts.unknown


def status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code") or "")


def is_refusal(error: ClientError) -> bool:
    """Return True if the store itself refuses the request permanently."""
    return status_of(error) in _REFUSAL and code_of(error) not in _PASSING and has_code(error)


def refuses_checksums(error: ClientError) -> bool:
    """Return True if the store may be refusing the checksums.

    Transfer damage and wrong parts are other errors. Google answers checksum headers with SignatureDoesNotMatch. The
    response to a HEAD request has no code.
    """
    if not has_code(error):
        return error.operation_name == "HeadObject" and status_of(error) in (*_REFUSAL, 403)
    code = code_of(error)
    return (is_refusal(error) and code not in _OF_PARTS) or code == "SignatureDoesNotMatch"


def has_code(error: ClientError) -> bool:
    """Return True if the response has one of S3's error codes.

    For other responses, e.g. of a proxy, boto3 uses the HTTP status as the code.
    """
    code = code_of(error)
    return bool(code) and not code.isdecimal()


def has_no_such_call(error: BaseException | None) -> bool:
    return isinstance(error, ClientError) and status_of(error) in _NO_SUCH_CALL


def is_denied(error: BaseException | None) -> bool:
    return isinstance(error, ClientError) and status_of(error) == 403 and has_code(error)


def is_unknown_path(error: BaseException | None) -> bool:
    """Return True for a 404 without an S3 code.

    It comes from a proxy, or from a store that lacks the call.
    """
    return isinstance(error, ClientError) and status_of(error) == 404 and not has_code(error)


@contextmanager
def errors_translated(
    *, refused: frozenset[str] = frozenset(), missing: type[Exception] = UploadGone
) -> Iterator[None]:
    """Translate errors of boto3 into the app's exceptions.

    Raises UploadGone for a missing upload, ``missing`` for a missing object, and StoreRefused with the store's reason
    for a permanent refusal. Raises StoreFull if the store has no space, and StoreUnavailable for all other errors.

    ``missing`` is UploadGone by default, because some stores report a missing upload as a missing object. Only S3's own
    codes count: a 404 without a code comes from a proxy.
    """
    _attempts.unknown = False
    try:
        yield
    except ClientError as error:
        code = code_of(error)
        if code in _GONE:
            raise UploadGone from error
        is_head = error.operation_name in ("HeadObject", "HeadBucket")
        if code in _MISSING or (is_head and status_of(error) == 404):
            raise missing from error
        if code in _FULL:
            raise StoreFull(unknown=_attempts.unknown) from error
        if code in refused or is_refusal(error):
            reason = error.response.get("Error", {}).get("Message", "")
            raise StoreRefused(reason=f"{code}: {reason}".strip(": ")) from error
        raise StoreUnavailable(unknown=_attempts.unknown) from error
    except (BotoCoreError, HTTPClientError) as error:
        raise StoreUnavailable(unknown=_attempts.unknown) from error
