"""CORS headers for pages of other origins, for the settings of django-cors-headers.

``CORS_ALLOW_HEADERS = (*default_headers, *cors.ALLOW_HEADERS)``, ``CORS_EXPOSE_HEADERS = cors.EXPOSE_HEADERS``
"""

from __future__ import annotations

ALLOW_HEADERS = (
    "content-disposition",
    "content-range",
    "tus-resumable",
    "upload-checksum",
    "upload-complete",
    "upload-concat",
    "upload-defer-length",
    "upload-draft-interop-version",
    "upload-incomplete",
    "upload-length",
    "upload-metadata",
    "upload-offset",
    "x-http-method-override",
    "x-request-id",
)
EXPOSE_HEADERS = (
    "Content-Location",
    "ETag",
    "Location",
    "Range",
    "Retry-After",
    "Tus-Checksum-Algorithm",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Draft-Interop-Version",
    "Upload-Expires",
    "Upload-Incomplete",
    "Upload-Length",
    "Upload-Limit",
    "Upload-Metadata",
    "Upload-Offset",
    "Upload-Parts",
)
