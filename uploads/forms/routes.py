"""Where in the portal's URLs ``uploads.forms.urls`` was included."""

from __future__ import annotations

from uploads.http.routes import names_of


def form_routes() -> list[str]:
    """Return the names by which the URL can be reversed that upload fields of forms send to."""
    end = "upload_forms:tus:uploads"
    return [name for name in names_of("uploads", "uploads.protocols.tus") if f":{name}".endswith(f":{end}")]
