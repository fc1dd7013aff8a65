"""The scope of the portal's OpenAPI description."""

from __future__ import annotations

from typing import Any

Endpoint = tuple[Any, ...]


def only_uploads(endpoints: list[Endpoint]) -> list[Endpoint]:
    """Leave out pages, and variants of routes that are also accepted.

    Variants are a trailing slash, ``.json``, and other upper or lower case of the location.
    """
    return [
        (path.rstrip("/"), *others)
        for path, *others in endpoints
        if path.startswith(("/api/2.0/", "/ChunkedUploader.ashx"))
    ]
