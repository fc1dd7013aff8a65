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
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_PASSING = frozenset(
    {"BadDigest", "InvalidDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
    | {"RequestTimeout", "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestExpired", "SlowDown"}
)
"""Answers 400 of damage on the way and of credentials, which pass."""
COMPLETION_REFUSED = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "BadDigest", "InvalidRequest"})
"""Answers to CompleteMultipartUpload that no repetition will change."""
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


def send_own_checksums(client: Any, *, wanted: bool) -> None:
    """Let boto3 add checksums of its own where none are demanded, as it does by default, or keep it from that."""
    events = client.meta.events
    (events.unregister if wanted else events.register)("before-parameter-build.s3", _add_none, "uploads-no-checksums")


def _add_none(context: dict[str, Any], **_: Any) -> None:
    context["client_config"] = context["client_config"].merge(Config(request_checksum_calculation="when_required"))


def _note_attempt(response: Any, caught_exception: Exception | None = None, **_: Any) -> None:
    if response is not None:
        # Refusals are clear; after these nobody knows how far the store, or a proxy before it, got.
        _attempts.unknown |= response[0].status_code in (408, 500, 502, 504)
    elif not isinstance(caught_exception, _NEVER_SENT):
        _attempts.unknown = True


def status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code") or "")


def is_refusal(error: ClientError) -> bool:
    """Tell whether the store does not want what was asked for, and will not at the next time."""
    return status_of(error) in _REFUSAL and code_of(error) not in _PASSING


def has_no_such_call(error: BaseException | None) -> bool:
    return isinstance(error, ClientError) and status_of(error) in _NO_SUCH_CALL


@contextmanager
def errors_translated(
    *, refused: frozenset[str] = frozenset(), missing: type[Exception] = UploadGone
) -> Iterator[None]:
    """Raise UploadGone, ``missing`` for a missing object, StoreRefused with the store's reason, else StoreUnavailable.

    A missing object of a call about an upload is a missing upload: some stores say it so.
    """
    _attempts.unknown = False
    try:
        yield
    except ClientError as error:
        code = code_of(error)
        if code in _GONE:
            raise UploadGone from error
        if code in _MISSING or (not code and status_of(error) == 404):
            raise missing from error
        if code in refused or is_refusal(error):
            reason = error.response.get("Error", {}).get("Message", "")
            raise StoreRefused(reason=f"{code}: {reason}".strip(": ")) from error
        raise StoreUnavailable(unknown=_attempts.unknown) from error
    except (BotoCoreError, HTTPClientError) as error:
        raise StoreUnavailable(unknown=_attempts.unknown) from error
