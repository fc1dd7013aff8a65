"""Find where the portal's URLconf includes ``uploads.urls.forms``."""

from __future__ import annotations

from functools import lru_cache

from django.urls import URLResolver, get_resolver

from uploads._internal.http.routes import names_of


def form_routes() -> tuple[str, ...]:
    """Return the names that reverse to the upload URL of form fields."""
    return _form_routes(get_resolver())


@lru_cache(maxsize=4)
def _form_routes(_resolver: URLResolver) -> tuple[str, ...]:
    """Search all URLs of the portal once, not for each field of each page."""
    end = "upload_forms:tus:uploads"
    return tuple(
        name for name in names_of("uploads", "uploads._internal.protocols.resources") if f":{name}".endswith(f":{end}")
    )
