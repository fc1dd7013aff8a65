"""Parse and serialize Upload-Metadata of tus."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from uploads.exceptions import InvalidRequest

_KEY = re.compile(r"[!-+\--~]+")
"""ASCII without space and comma."""

BINARY = "data:;base64,"
"""Prefix of stored values that are not text: they are kept as a data URL."""


def parse(header: str) -> dict[str, str]:
    """Return the pairs of Upload-Metadata: ``key base64, key base64, key`` (tus 1.0, creation extension).

    Raises InvalidRequest for a malformed or repeated key, and for a value that is not base64.
    """
    pairs: dict[str, str] = {}
    for pair in header.split(",") if header.strip() else ():
        key, _, value = pair.strip().partition(" ")
        if not _KEY.fullmatch(key):
            message = f"Upload-Metadata has a key that is none: {key!r}."
            raise InvalidRequest(message)
        if key in pairs:
            message = f"Upload-Metadata has {key} twice."
            raise InvalidRequest(message)
        pairs[key] = _decoded(key, value.strip())
    return pairs


def _decoded(key: str, value: str) -> str:
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        message = f"Upload-Metadata: the value of {key} is not base64."
        raise InvalidRequest(message) from error
    text = data.decode(errors="replace")
    if text.encode() != data or "\0" in text or text.startswith(BINARY):  # databases cannot store it as text
        return f"{BINARY}{value}"
    return text


def serialize(pairs: Mapping[str, str]) -> str:
    """Return the pairs as a value of Upload-Metadata."""
    return ",".join(f"{key} {_encoded(value)}".strip() for key, value in pairs.items() if _KEY.fullmatch(key))


def _encoded(value: str) -> str:
    if value.startswith(BINARY):
        return value.removeprefix(BINARY)
    return base64.b64encode(value.encode(errors="replace")).decode()


def decode_text(pairs: Mapping[str, str]) -> dict[str, str]:
    """Return the pairs with binary values decoded; unreadable characters are replaced."""
    return {
        key: base64.b64decode(value.removeprefix(BINARY)).decode(errors="replace").replace("\0", "\ufffd")
        if value.startswith(BINARY)
        else value
        for key, value in pairs.items()
    }
