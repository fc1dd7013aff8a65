"""Create and recognize the names of the app's objects in a store."""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid

SIGNATURE = r"[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}"
"""Pattern of a name signature.

It has the session id, a signature of the id, and a signature of the id with the name of the object. A signature needs
the key of the database that has the session's row.
"""
FRAGMENT = re.compile(rf".+\.fragment-({SIGNATURE})-[0-9a-f]{{16}}")
_PROBE = re.compile(r"(.+/)?upload-sessions-probe-[0-9a-f]{32}")
_OBJECT = re.compile(rf"(?:.+/)?({SIGNATURE})/([^/]+)")


def sign_name(session_id: uuid.UUID, name: str, key: str) -> str:
    """Return a session's name signature for an object whose last path segment is ``name``."""
    pk = session_id.hex
    return f"{pk}-{_sign(pk, key)}-{_sign(f'{pk}/{name}', key)}"


def is_ours(name: str, key: str) -> bool:
    """Return True for the name of a session's object or of a probe.

    The session must be of the database with this ``key``. Files that a portal stores beside an upload under a derived
    name (like thumbnails) are not ours.
    """
    if fragment := FRAGMENT.fullmatch(name):
        pk, signature, _ = fragment[1].split("-")
        return hmac.compare_digest(_sign(pk, key), signature)
    if found := _OBJECT.fullmatch(name):
        pk, _, signature = found[1].split("-")
        return hmac.compare_digest(_sign(f"{pk}/{found[2]}", key), signature)
    return bool(_PROBE.fullmatch(name))


def fragment_of(name: str, signature: str) -> str:
    """Return a unique name for a fragment of the object ``name``.

    No name is used twice, so that a late writer cannot damage another fragment.
    """
    return f"{fragments_prefix(name)}{signature}-{uuid.uuid4().hex[:16]}"


def fragments_prefix(name: str) -> str:
    """Return the common prefix of the names of all fragments of the object ``name``."""
    return f"{name}.fragment-"


def probe_under(prefix: str) -> str:
    """Return a name for a temporary object that tests the store's behavior."""
    return f"{prefix}/upload-sessions-probe-{uuid.uuid4().hex}"


def _sign(text: str, key: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()[:8]
