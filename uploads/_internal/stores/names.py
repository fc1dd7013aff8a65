"""Names of what the app keeps beside the files: made here, and recognised here."""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid

MARK = r"[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}"
"""What a session's names carry: its id, a signature of it, and one of the id with the name of the object. Nobody makes
them who has not the key of the database that has the session's row."""
FRAGMENT = re.compile(rf".+\.fragment-({MARK})-[0-9a-f]{{16}}")
_PROBE = re.compile(r"(.+/)?upload-sessions-probe-[0-9a-f]{32}")
_OBJECT = re.compile(rf"(?:.+/)?({MARK})/([^/]+)")


def sign_name(session_id: uuid.UUID, name: str, key: str) -> str:
    """Return the signature of a session for an object whose last name will be ``name``."""
    pk = session_id.hex
    return f"{pk}-{_sign(pk, key)}-{_sign(f'{pk}/{name}', key)}"


def is_ours(name: str, key: str) -> bool:
    """Tell whether a name was made for a session of the database that has this ``key``, or to try a store out.

    What a portal puts beside a file of ours, made of its name (a thumbnail), is not ours.
    """
    if fragment := FRAGMENT.fullmatch(name):
        pk, signature, _ = fragment[1].split("-")
        return hmac.compare_digest(_sign(pk, key), signature)
    if found := _OBJECT.fullmatch(name):
        pk, _, signature = found[1].split("-")
        return hmac.compare_digest(_sign(f"{pk}/{found[2]}", key), signature)
    return bool(_PROBE.fullmatch(name))


def fragment_of(name: str, signature: str) -> str:
    """Return a name for a fragment of the object ``name``. No name is used twice, so no late writer can damage it."""
    return f"{fragments_prefix(name)}{signature}-{uuid.uuid4().hex[:16]}"


def fragments_prefix(name: str) -> str:
    """Return what the names of all fragments of the object ``name`` begin with."""
    return f"{name}.fragment-"


def probe_under(prefix: str) -> str:
    """Return a name for something that is stored to see what the store does with it, and deleted at once."""
    return f"{prefix}/upload-sessions-probe-{uuid.uuid4().hex}"


def _sign(text: str, key: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()[:8]
