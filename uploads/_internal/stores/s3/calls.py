"""What every call to S3 shares: which parameters it takes, and what its errors mean."""

from __future__ import annotations

import threading
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

from uploads.exceptions import StoreRefused, StoreUnavailable, UploadGone

_GONE = frozenset({"NoSuchUpload"})
_MISSING = frozenset({"NoSuchKey"})
_PASSING = frozenset(
    {"BadDigest", "InvalidDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
    | {"RequestTimeout", "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestExpired", "SlowDown"}
)
"""Answers 400 of damage on the way and of credentials, which pass."""
COMPLETION_REFUSED = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "BadDigest", "InvalidRequest"})
"""Answers to CompleteMultipartUpload that no repetition will change."""
_OF_PARTS = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "NoSuchUpload", "NoSuchKey"})
_NO_SUCH_CALL = frozenset({405, 501})
_REFUSAL = frozenset({400, 501})

_COUNTED = ("UploadPart", "PutObject")
_NEVER_SENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)


class _Attempts(threading.local):
    unknown = False  # also in threads of boto3's own, where the portal saves files with the same client


_attempts = _Attempts()


def members(operation: str) -> frozenset[str]:
    """Return the names of the parameters that an operation takes."""
    return frozenset(_service().operation_model(operation).input_shape.members)


@cache
def _service() -> Any:
    return botocore.session.get_session().get_service_model("s3")


def watch(client: Any) -> None:
    """Note of each attempt that boto3 makes on its own whether the store may have done it."""
    for operation in _COUNTED:
        client.meta.events.register(f"needs-retry.s3.{operation}", _note_attempt)


_OF_BOTO3 = {
    "checksums": Config(request_checksum_calculation="when_required", response_checksum_validation="when_required"),
    "checksum_completion": Config(),
    "checksum_reads": Config(response_checksum_validation="when_required"),
}


def send_own_checksums(client: Any, capability: str, *, wanted: bool) -> None:
    """Let boto3 send and ask for checksums of its own where none are demanded, as by default, or keep it from that."""

    def use(context: dict[str, Any], **_: Any) -> None:
        context["client_config"] = context["client_config"].merge(_OF_BOTO3[capability])

    events = client.meta.events
    (events.unregister if wanted else events.register)("before-parameter-build.s3", use, f"uploads-no-{capability}")


def _note_attempt(response: Any, caught_exception: Exception | None = None, **_: Any) -> None:
    if response is not None:
        status, code = response[0].status_code, response[1].get("Error", {}).get("Code", "")
        # The store's own refusals are clear. Otherwise it, or a proxy before it, may have got any distance.
        refused = status in (501, 503) and code and not code.isdecimal()
        _attempts.unknown |= status == 408 or (status >= 500 and not refused)
    elif not isinstance(caught_exception, _NEVER_SENT):
        _attempts.unknown = True


def is_unclear() -> bool:
    """Tell whether an attempt at the call that this thread has just made may still take effect."""
    return _attempts.unknown


def status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code") or "")


def is_refusal(error: ClientError) -> bool:
    """Tell whether the store itself refuses what was asked for, permanently."""
    return status_of(error) in _REFUSAL and code_of(error) not in _PASSING and has_code(error)


def refuses_checksums(error: ClientError) -> bool:
    """Tell whether the checksums may be what the store refuses. Damage, and parts that are not right, are none of it.

    Google's answer to such headers is SignatureDoesNotMatch. What a HEAD is answered has no code.
    """
    if not has_code(error):
        return error.operation_name == "HeadObject" and status_of(error) in (*_REFUSAL, 403)
    code = code_of(error)
    return (is_refusal(error) and code not in _OF_PARTS) or code == "SignatureDoesNotMatch"


def has_code(error: ClientError) -> bool:
    """Tell whether the answer has a code of S3's; boto3 gives others, of a proxy, their status for one."""
    code = code_of(error)
    return bool(code) and not code.isdecimal()


def has_no_such_call(error: BaseException | None) -> bool:
    return isinstance(error, ClientError) and status_of(error) in _NO_SUCH_CALL


def is_unknown_path(error: BaseException | None) -> bool:
    """Tell whether the answer is a 404 that is not S3's: of a proxy, or of a store that lacks the call."""
    return isinstance(error, ClientError) and status_of(error) == 404 and not has_code(error)


@contextmanager
def errors_translated(
    *, refused: frozenset[str] = frozenset(), missing: type[Exception] = UploadGone
) -> Iterator[None]:
    """Raise UploadGone, ``missing`` for a missing object, StoreRefused with the store's reason, else StoreUnavailable.

    A missing object of a call about an upload is a missing upload: some stores say it so. Only codes of S3's own count:
    a 404 without one is a proxy's.
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
        if code in refused or is_refusal(error):
            reason = error.response.get("Error", {}).get("Message", "")
            raise StoreRefused(reason=f"{code}: {reason}".strip(": ")) from error
        raise StoreUnavailable(unknown=_attempts.unknown) from error
    except (BotoCoreError, HTTPClientError) as error:
        raise StoreUnavailable(unknown=_attempts.unknown) from error
