"""Find the protocol variant of a request by its headers, because protocols share their URLs."""

from __future__ import annotations

from django.http import HttpRequest

from uploads._internal.http.multipart import content_type
from uploads._internal.protocols.plain.variant import Plain
from uploads._internal.protocols.resources import headers
from uploads._internal.protocols.resources.base import Variant
from uploads._internal.protocols.resumable.variant import BYTES, DRAFTS, Resumable
from uploads._internal.protocols.tus.variant import Tus

PROTOCOLS: tuple[type[Variant], ...] = (Resumable, Tus)
_BY_VERSION: dict[int | None, type[Resumable]] = {draft.version: draft for draft in DRAFTS}
_OF_RESUMABLE = {"Upload-Complete", "Upload-Incomplete", "Upload-Draft-Interop-Version"}
_OF_TUS = {"Upload-Length", "Upload-Defer-Length", "Upload-Metadata", "Upload-Concat"}


def variant_of(request: HttpRequest) -> Variant:
    """Return the protocol variant of a request.

    tus takes precedence, because some systems add headers of the other protocol on their own.
    """
    sent = {*request.headers}
    if "Tus-Resumable" in sent:
        return Tus(request)
    resumable = _resumable(request)
    if request.method in ("POST", "PUT"):
        if sent & _OF_RESUMABLE:  # An invalid flag counts as missing: the request has the whole file.
            return Plain(request) if resumable.says_complete is None else resumable
        return Tus(request) if sent & _OF_TUS else Plain(request)
    if sent & _OF_RESUMABLE or content_type(request)[0] == BYTES:
        return resumable
    if request.method == "PATCH" or sent & _OF_TUS:
        return Tus(request)
    return Plain(request, (Tus(request), resumable))


def _resumable(request: HttpRequest) -> Resumable:
    version = headers.integer(request, "Upload-Draft-Interop-Version")
    return _BY_VERSION.get(version, Resumable)(request)
