"""Probe the portal's public address for the doctor."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from uploads._internal.http.exceptions import BodyConsumed
from uploads._internal.registry import Finding
from uploads.exceptions import TransactionOpen


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuse redirects: a redirected POST would lose its body and prove nothing."""

    def redirect_request(self, *_: object) -> None:
        return None


HINTS = {
    413: "raise the limit for bodies before the app (nginx: client_max_body_size 0)",
    502: "the app's server closed the connection: let its keep-alive outlast the proxy's (gunicorn: --keep-alive 75)",
    504: "raise the proxy's timeout (nginx: proxy_read_timeout 300s)",
}
"""Remedies by the status that a proxy answers."""


SYNC_WORKER = "X-Sync-Worker"
"""Header of the app's answers that tells the doctor about the server's worker."""


def is_sync_worker(environ: Mapping[str, Any]) -> bool:
    """Return True in a worker of gunicorn that serves one request at a time.

    gunicorn kills such a worker if a chunk takes longer than ``--timeout``.
    """
    return str(environ.get("SERVER_SOFTWARE")).startswith("gunicorn") and not environ.get("wsgi.multithread", True)


def probe_upload(
    url: str, path: str | None, size: int, code_of: Callable[[Any], Any], *, form: bool = False
) -> Finding:
    """Send ``size`` bytes to a protocol, raw or as a ``form``, and report whether the app itself answers.

    ``path`` is below the portal's prefix, or None if it depends on the request. ``code_of`` finds the code in the
    protocol's errors.
    """
    kind = "form" if form else "chunk"
    if path is None:
        return Finding("path", ok=False, text="the URL of chunks depends on a request, so it cannot be probed")
    address = f"{url.rstrip('/')}/{path}"
    if not address.startswith(("http://", "https://")):
        return Finding("path", ok=False, text=f"{url} is not an http(s) address")
    content_type, body = "application/octet-stream", bytes(size)
    if form:
        boundary = uuid.uuid4().hex
        content_type = f"multipart/form-data; boundary={boundary}"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="blob"\r\n\r\n'
        body = head.encode() + body + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(address, body, {"Content-Type": content_type})  # noqa: S310
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=120) as answer:
            status, body, headers = answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        status, body, headers = error.code, error.read(), error.headers
    except OSError as error:
        return Finding("path", ok=False, text=f"{url} does not take a body of {size} bytes: {error}")
    try:
        code = str(code_of(json.loads(body)))
    except (ValueError, KeyError, TypeError):
        code = ""
    if code == TransactionOpen.code:
        text = "something runs requests in a database transaction (middleware?): exempt the upload URLs from it"
        return Finding("path", ok=False, text=text)
    if code == BodyConsumed.code:
        text = "middleware reads request.POST or request.body before the app: exempt the upload URLs from it"
        return Finding("path", ok=False, text=text)
    if SYNC_WORKER in headers:
        text = "gunicorn's sync workers kill chunks that take longer than --timeout: add --worker-class gthread"
        return Finding("path", ok=False, text=text)
    if code and status in (401, 404):
        return Finding("path", ok=True, text=f"a {kind} of {size} bytes gets through to the app at {address}")
    hint = "give the address where the portal really is" if 300 <= status < 400 else HINTS.get(status, "look there")
    return Finding(
        "path",
        ok=False,
        text=f"a proxy or server before the app answers a {kind} of {size} bytes with {status}: {hint}",
    )
