"""What of the portal is in its OpenAPI description."""

from __future__ import annotations

from typing import Any

Endpoint = tuple[Any, ...]


def only_uploads(endpoints: list[Endpoint]) -> list[Endpoint]:
    """Leave out the pages and what the routes take besides: a trailing slash, ``.json``, any case of the location."""
    return [
        (path.rstrip("/"), *others)
        for path, *others in endpoints
        if path.startswith(("/api/2.0/", "/ChunkedUploader.ashx"))
    ]
