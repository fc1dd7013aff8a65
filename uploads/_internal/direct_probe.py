"""Probe for the doctor whether a browser can send parts straight to a store."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from uploads._internal.registry import Finding
from uploads._internal.sessions.direct import direct_settings
from uploads._internal.stores.base import SignedUrl, Store, Upload
from uploads._internal.stores.buffer import Buffer
from uploads.exceptions import UploadError

TIMEOUT = 20
HEADERS = "content-type", "x-amz-checksum-crc32"


def cors_rule(origin: str) -> dict[str, Any]:
    """Return the CORS rule that a bucket needs for pages of ``origin``."""
    return {
        "AllowedOrigins": [origin],
        "AllowedMethods": ["PUT"],
        "AllowedHeaders": list(HEADERS),
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 3600,
    }


def probe_direct(store: Store, name: str, url: str) -> Iterator[Finding]:
    """Send a part from outside, as a page of the portal at ``url`` would."""
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    data = Buffer(b"doctor")
    upload = Upload(name, store.create(name, content_type="application/octet-stream", encrypted=False))
    try:
        signed = store.sign_part(
            upload,
            number=1,
            size=len(data),
            crc32=data.crc32,
            seconds=60,
            endpoint=direct_settings().DIRECT_ENDPOINT_URL,
        )
        if signed is None:
            text = "the storage cannot sign URLs (SSE-C): set DIRECT to False"
            yield Finding("direct", ok=False, text=text)
            return
        yield _preflight(signed, origin)
        yield from _send(signed)
    finally:
        with suppress(UploadError):
            store.abort(upload)


def _preflight(signed: SignedUrl, origin: str) -> Finding:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": ",".join(HEADERS),
    }
    status, answer = _request("OPTIONS", signed.url, asked)
    allowed = answer.get("access-control-allow-origin", "") in (origin, "*")
    headers = answer.get("access-control-allow-headers", "").lower()
    if status < 300 and allowed and (headers == "*" or all(name in headers for name in HEADERS)):
        return Finding("direct", ok=True, text=f"pages of {origin} may send parts to the store")
    if not status:
        return Finding("direct", ok=False, text=f"the store's address cannot be reached: {answer['error']}")
    rule = json.dumps([cors_rule(origin)])
    text = f"the bucket lets no page of {origin} send parts; its CORS rules need (or uploads_cors --apply): {rule}"
    return Finding("direct", ok=False, text=text)


def _send(signed: SignedUrl) -> Iterator[Finding]:
    status, _ = _request("PUT", signed.url, signed.headers, b"doctor")
    yield Finding("direct", ok=status == 200, text=f"the store answers a signed part with {status or 'no answer'}")
    if status != 200:
        return
    longer, _ = _request("PUT", signed.url, signed.headers, b"doctor!")
    yield Finding("direct", ok=longer >= 400, text=f"the store answers a part of another size with {longer}")
    if signed.headers:
        other, _ = _request("PUT", signed.url, signed.headers, b"rotcod")
        yield Finding("direct", ok=other >= 400, text=f"the store answers a part of other bytes with {other}")


def _request(method: str, url: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, dict[str, str]]:
    """Return status and headers of the answer, with names in lower case; status 0 without an answer."""
    request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - the store's own address
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {name.lower(): value for name, value in error.headers.items()}
    except OSError as error:
        return 0, {"error": str(error)}
