"""Downloads: streamed from the storage, resumable by Range, never shown by the browser unless known to be safe."""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import http_date

from portal.models import Content
from uploads.disposition import disposition_of
from uploads.stores import get_store

_RANGE = re.compile(r"^bytes=(\d{1,18})-(\d{0,18})$")


def download(request: HttpRequest, content: Content, title: str) -> HttpResponseBase:
    """Answer with the content, or with the one range of it that was asked for."""
    start, size = 0, content.size
    wanted = _RANGE.match(request.headers.get("Range", ""))
    if wanted:
        start = int(wanted[1])
        end = min(int(wanted[2] or content.size - 1), content.size - 1)
        size = end - start + 1
        if start >= content.size or size < 1:
            return HttpResponse(status=416, headers={"Content-Range": f"bytes */{content.size}"})
    blocks: Iterable[bytes] = ()
    if request.method != "HEAD":
        blocks = get_store("default").read(str(content.content.name), start=start, size=size)
    response = StreamingHttpResponse(blocks, status=206 if wanted else 200, content_type=content.content_type)
    if wanted:
        response["Content-Range"] = f"bytes {start}-{start + size - 1}/{content.size}"
    response["Content-Length"] = str(size)
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = f'"{content.crc32:08x}-{content.size}"'
    response["Last-Modified"] = http_date(content.updated.timestamp())
    response["Content-Disposition"] = disposition_of(title, content.content_type)
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response
