"""Probe the portal's public address for the doctor."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from uploads._internal.registry import Finding
from uploads.exceptions import TransactionOpen


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuse redirects: a redirected POST would lose its body and prove nothing."""

    def redirect_request(self, *_: object) -> None:
        return None


def probe_upload(url: str, path: str | None, size: int, code_of: Callable[[Any], Any]) -> Finding:
    """Send ``size`` bytes to a protocol and report whether the app itself answers.

    ``path`` is below the portal's prefix, or None if it depends on the request. ``code_of`` finds the code in the
    protocol's errors.
    """
    if path is None:
        return Finding("way", ok=False, text="the URL of chunks depends on a request, so it cannot be probed")
    address = f"{url.rstrip('/')}/{path}"
    if not address.startswith(("http://", "https://")):
        return Finding("way", ok=False, text=f"{url} is not an http(s) address")
    request = urllib.request.Request(address, bytes(size), {"Content-Type": "application/octet-stream"})  # noqa: S310
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=120) as answer:
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read()
    except OSError as error:
        return Finding("way", ok=False, text=f"{url} does not take a body of {size} bytes: {error}")
    try:
        code = str(code_of(json.loads(body)))
    except (ValueError, KeyError, TypeError):
        code = ""
    if code == TransactionOpen.code:
        text = "something runs requests in a database transaction (middleware?): exempt the upload URLs from it"
        return Finding("way", ok=False, text=text)
    if code and status in (401, 404):
        return Finding("way", ok=True, text=f"a chunk of {size} bytes gets through to the app at {address}")
    hint = "look there"
    if status == 413:
        hint = "raise the limit for bodies before the app (nginx: client_max_body_size 0)"
    elif 300 <= status < 400:
        hint = "give the address where the portal really is"
    return Finding(
        "way", ok=False, text=f"a proxy or server before the app answers a chunk of {size} bytes with {status}: {hint}"
    )
