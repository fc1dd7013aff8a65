"""Facts about sessions, sent after the transaction that made them true. Receivers get ``session``.

The verbs of ``uploads.sessions`` send them; to refuse something, use ``Destination`` instead.
"""

from __future__ import annotations

from django.dispatch import Signal

session_created = Signal()
chunk_stored = Signal()
"""Also gets ``size``, the chunk's bytes."""
session_completed = Signal()
session_aborted = Signal()
session_expired = Signal()
session_failed = Signal()
lease_taken_over = Signal()
"""A writer died without releasing the session and another one carries on."""
