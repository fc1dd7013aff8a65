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

_RANGE = re.compile(r"^bytes=(\d{1,18})-(\d{0,18})$")


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
    start, size = 0, content.size
    wanted = _range(request, etag)
    if wanted:
        start = int(wanted[1])
        end = min(int(wanted[2] or content.size - 1), content.size - 1)
        size = end - start + 1
        if start >= content.size or size < 1:
            return HttpResponse(status=416, headers={"Content-Range": f"bytes */{content.size}"})
    blocks: Iterable[bytes] = ()
    if request.method != "HEAD":
        blocks = get_store(content.storage).read(content.name, start=start, size=size)
    status = 206 if wanted else 200
    response = StreamingHttpResponse(blocks, status=status, content_type=content.content_type, headers=kept)
    if wanted:
        response["Content-Range"] = f"bytes {start}-{start + size - 1}/{content.size}"
    response["Content-Length"] = str(size)
    response["Accept-Ranges"] = "bytes"
    response["Content-Disposition"] = disposition_of(content.title, content.content_type)
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


def _range(request: HttpRequest, etag: str) -> re.Match[str] | None:
    """Return the one range requested of this version, if any (RFC 9110, 13.1.5 and 14.2)."""
    if request.method != "GET" or request.headers.get("If-Range", etag) != etag:
        return None
    wanted = _RANGE.match(request.headers.get("Range", ""))
    return None if wanted and wanted[2] and int(wanted[2]) < int(wanted[1]) else wanted
