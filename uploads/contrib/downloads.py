"""Downloads, streamed from the storage and resumable by Range.

Browsers display a file only if its type is known to be safe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import http_date, parse_etags

from uploads._internal.disposition import disposition_of
from uploads._internal.stores import get_store

_RANGE = re.compile(r"^bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))$")


@dataclass(frozen=True)
class Content:
    """A file to send."""

    storage: str
    """The alias of the file's storage."""
    name: str
    title: str
    content_type: str
    size: int
    """In bytes."""
    etag: str
    modified: datetime


LINK_LASTS = 60
"""Validity of a link to the store, in seconds. A download that has begun continues."""


def download(request: HttpRequest, content: Content, *, presigned: bool = False) -> HttpResponseBase:
    """Respond with the content, or with the one requested range of it.

    ``presigned`` redirects the browser to the store, if the store supports links. Caches must not keep the links.
    """
    if presigned and request.method == "GET":
        disposition = disposition_of(content.title, content.content_type)
        link = get_store(content.storage).link(
            content.name, seconds=LINK_LASTS, content_type=content.content_type, disposition=disposition
        )
        if link:
            return HttpResponse(status=302, headers={"Location": link, "Cache-Control": "no-store"})
    etag = f'"{content.etag}"'
    # Caches must revalidate, because the URL may serve another version later. Shared caches must not keep the file.
    kept = {
        "ETag": etag,
        "Last-Modified": http_date(content.modified.timestamp()),
        "Cache-Control": "private, no-cache",
    }
    if etag in parse_etags(request.headers.get("If-None-Match", "")):
        return HttpResponse(status=304, headers=kept)
    wanted = _range(request, etag, content.size)
    start, size = (wanted.start, len(wanted)) if wanted is not None else (0, content.size)
    if wanted is not None and not wanted:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{content.size}"})
    blocks: Iterable[bytes] = ()
    if request.method != "HEAD":
        blocks = get_store(content.storage).read(content.name, start=start, size=size)
    status = 206 if wanted is not None else 200
    response = StreamingHttpResponse(blocks, status=status, content_type=content.content_type, headers=kept)
    if wanted is not None:
        response["Content-Range"] = f"bytes {start}-{start + size - 1}/{content.size}"
    response["Content-Length"] = str(size)
    response["Accept-Ranges"] = "bytes"
    response["Content-Disposition"] = disposition_of(content.title, content.content_type)
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _range(request: HttpRequest, etag: str, size: int) -> range | None:
    """Return the one range requested of this version (RFC 9110, 13.1.5 and 14.1.2).

    None if there is none; empty if it cannot be satisfied.
    """
    if request.method != "GET" or request.headers.get("If-Range", etag) != etag:
        return None
    wanted = _RANGE.match(request.headers.get("Range", ""))
    if wanted is None:
        return None
    first, last, suffix = wanted.groups()
    if suffix:
        return range(max(0, size - int(suffix)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1 if last else size, size))
