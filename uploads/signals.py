"""Facts about sessions, sent after the transaction that made them true. Receivers get ``session``.

The verbs of ``uploads._internal.sessions`` send them; to refuse something, use ``Destination`` instead.
"""

from __future__ import annotations

from django.dispatch import Signal

session_created = Signal()
"""A client may send chunks now."""
chunk_stored = Signal()
"""Also gets ``size``, the chunk's bytes."""
session_checking = Signal()
"""The file is whole and waits for ``Destination.check``; the Celery task begins with it."""
session_completed = Signal()
"""The portal has the file."""
session_aborted = Signal()
"""A client or an operator ended it; what it held is given back."""
session_expired = Signal()
"""Its time was up; what it held is given back."""
session_failed = Signal()
"""No file could be made of all its bytes, or its check refused it: ``session.failure`` says why."""
lease_taken_over = Signal()
"""A writer died without releasing the session and another one carries on."""
