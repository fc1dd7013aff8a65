"""Names of what the app keeps beside the files: made here, and recognised here."""

from __future__ import annotations

import re
import uuid

PIECE = re.compile(r".+\.piece-[0-9a-f]{32}")
"""Names of pieces; nobody else has such."""


def piece_of(name: str) -> str:
    """Return a name for a piece of the object ``name``: nobody else ever uses it, so no late writer can damage it."""
    return f"{pieces_prefix(name)}{uuid.uuid4().hex}"


def pieces_prefix(name: str) -> str:
    """Return what the names of all pieces of the object ``name`` begin with."""
    return f"{name}.piece-"
