"""Names of what the app keeps beside the files: made here, and recognised here."""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid

MARK = r"[0-9a-f]{32}-[0-9a-f]{10}"
"""What a session's names carry: its id, and a signature that nobody makes who has not this portal's key."""
PIECE = re.compile(rf".+\.piece-{MARK}-[0-9a-f]{{16}}")
_PROBE = re.compile(r"(.+/)?upload-sessions-probe-[0-9a-f]{32}")
_MARKS = re.compile(rf"(?<![0-9a-f]){MARK}(?![0-9a-f])")


def mark_of(session_id: uuid.UUID, key: str) -> str:
    """Return the mark of a session, signed with the ``key`` of the database that has its row."""
    return f"{session_id.hex}-{_sign(session_id.hex, key)}"


def is_ours(name: str, key: str) -> bool:
    """Tell whether a name was made for a session of the database that has this ``key``, or to try a store out."""
    marks = (mark.partition("-") for mark in _MARKS.findall(name))
    return bool(_PROBE.fullmatch(name)) or any(hmac.compare_digest(_sign(pk, key), sign) for pk, _, sign in marks)


def piece_of(name: str, mark: str) -> str:
    """Return a name for a piece of the object ``name``: nobody else ever uses it, so no late writer can damage it."""
    return f"{pieces_prefix(name)}{mark}-{uuid.uuid4().hex[:16]}"


def pieces_prefix(name: str) -> str:
    """Return what the names of all pieces of the object ``name`` begin with."""
    return f"{name}.piece-"


def probe_under(prefix: str) -> str:
    """Return a name for something that is stored to see what the store does with it, and deleted at once."""
    return f"{prefix}/upload-sessions-probe-{uuid.uuid4().hex}"


def _sign(pk: str, key: str) -> str:
    return hmac.new(key.encode(), pk.encode(), hashlib.sha256).hexdigest()[:10]
