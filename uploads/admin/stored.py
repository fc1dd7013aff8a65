"""Tables of what the rows of a session, and its store, have."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from uploads._internal.sessions import Comparison
from uploads.admin.cells import size_text
from uploads.models import Fragment, UploadPart, UploadSession

MAX_STORED_ROWS = 100


def stored_rows(session: UploadSession) -> list[tuple[Any, ...]]:
    """Return part, chunk, offset, size, CRC-32 and time of the first parts and fragments."""
    rows: list[tuple[Any, Any, UploadPart | Fragment]] = [
        (part.number, "–", part) for part in session.parts.all()[:MAX_STORED_ROWS]
    ]
    waiting = session.fragments.all()[: MAX_STORED_ROWS - len(rows)]
    rows += [(_("waiting for more bytes"), fragment.chunk or "–", fragment) for fragment in waiting]
    return [
        (number, chunk, size_text(row.offset), size_text(row.size), row.crc or "–", row.created_at)
        for number, chunk, row in rows
    ]


def comparison_rows(found: Comparison) -> list[tuple[Any, Any]]:
    uploads = _("the store no longer has this upload") if found.in_uploads is None else size_text(found.in_uploads)
    return [
        (_("In the database"), size_text(found.in_rows)),
        (_("Parts of multipart uploads"), uploads),
        (_("Fragments"), size_text(found.in_fragments)),
        (_("The file"), "–" if found.file is None else size_text(found.file)),
    ]
