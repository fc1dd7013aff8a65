"""The Content-Disposition of uploaded files.

Browsers must save, not display, a file that could run a script in the portal's origin.
"""

from __future__ import annotations

from django.utils.http import content_disposition_header

SHOWN_INLINE = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "text/plain", "audio/mpeg", "video/mp4", "video/webm"}
)
"""Content types that cannot run scripts."""


def disposition_of(title: str, content_type: str) -> str:
    """Return the Content-Disposition of a file."""
    return content_disposition_header(content_type not in SHOWN_INLINE, title) or "attachment"
