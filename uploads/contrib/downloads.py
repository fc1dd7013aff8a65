"""Downloads: streamed from the storage, resumable by Range, never shown by the browser unless known to be safe."""

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
    """What is to be sent."""

    storage: str
    """The alias of the storage that has it."""
    name: str
    title: str
    content_type: str
    size: int
    """In bytes."""
    etag: str
    modified: datetime


LINK_LASTS = 60
"""Seconds that a link to the store is good for; a download that has begun goes on."""


def download(request: HttpRequest, content: Content, *, presigned: bool = False) -> HttpResponseBase:
    """Answer with the content, or with the one range of it that was asked for.

    ``presigned`` sends a browser to the store itself, if the store can give out links; they are never to be stored.
    """
    if presigned and request.method == "GET":
        disposition = disposition_of(content.title, content.content_type)
        link = get_store(content.storage).link(
            content.name, seconds=LINK_LASTS, content_type=content.content_type, disposition=disposition
        )
        if link:
            return HttpResponse(status=302, headers={"Location": link, "Cache-Control": "no-store"})
    etag = f'"{content.etag}"'
    # The same address has another version tomorrow, and nobody else's caches are to have it.
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
    """Return the one range that is asked for of this version (RFC 9110, 13.1.5 and 14.2), if any is."""
    if request.method != "GET" or request.headers.get("If-Range", etag) != etag:
        return None
    wanted = _RANGE.match(request.headers.get("Range", ""))
    return None if wanted and wanted[2] and int(wanted[2]) < int(wanted[1]) else wanted
