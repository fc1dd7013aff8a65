"""Verify digests that clients send, while the body passes.

The headers are Content-MD5 (RFC 1864), Content-Digest and, for a whole file, Repr-Digest (RFC 9530).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from uploads._internal.http.exceptions import DigestMismatch
from uploads.exceptions import InvalidRequest

if TYPE_CHECKING:
    from django.http import HttpRequest

ALGORITHMS = {"md5": "md5", "sha-256": "sha256", "sha-512": "sha512"}
_MEMBER = re.compile(r"\s*([a-z0-9-]+)=:([A-Za-z0-9+/=]*):\s*")


class Digests:
    """The digests that a request declares for its body. Only declared digests are computed."""

    def __init__(self, request: HttpRequest, others: Mapping[str, bytes] | None = None, *, whole: bool = False) -> None:
        """Add ``others``, the digests that a protocol reads elsewhere, by their hashlib names.

        If the body is a ``whole`` file, digests of the file count, too.
        """
        given = _given(request, "Content-Digest") | (_given(request, "Repr-Digest") if whole else {})
        if md5 := request.headers.get("Content-MD5"):
            given["md5"] = decode("Content-MD5", md5)
        expected = {ALGORITHMS[name]: value for name, value in given.items()} | dict(others or {})
        self._expected = [(hashlib.new(name, usedforsecurity=False), value) for name, value in expected.items()]

    def __bool__(self) -> bool:
        return bool(self._expected)

    def update(self, block: bytes) -> None:
        for digest, _ in self._expected:
            digest.update(block)

    def check(self) -> None:
        """Raise DigestMismatch if the body does not match a declared digest."""
        for digest, value in self._expected:
            if digest.digest() != value:
                raise DigestMismatch(algorithm=digest.name)


def _given(request: HttpRequest, header: str) -> dict[str, bytes]:
    """Return the digests of a header by algorithm; the last one counts (RFC 8941).

    Raises InvalidRequest for a malformed header.
    """
    given = {}
    for member in filter(None, request.headers.get(header, "").split(",")):
        match = _MEMBER.fullmatch(member)
        if not match:
            message = f"{header} is malformed: {member.strip()!r}."
            raise InvalidRequest(message)
        if match[1] in ALGORITHMS:
            given[match[1]] = decode(header, match[2])
    return given


def decode(header: str, value: str) -> bytes:
    """Return the bytes of a base64 header value; raise InvalidRequest if it is not base64."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        message = f"{header} is not base64."
        raise InvalidRequest(message) from error
