"""Signals about sessions, sent after the transaction of the change. Receivers get ``session``.

``uploads._internal.sessions`` sends them. To refuse something, use ``Destination`` instead.
"""

from __future__ import annotations

from django.dispatch import Signal

session_created = Signal()
"""A session was created, and the client may send chunks."""
chunk_stored = Signal()
"""A chunk was stored. Receivers also get ``size``, its size in bytes."""
session_checking = Signal()
"""The file is complete and waits for ``Destination.check``. The Celery task starts on this signal."""
session_completed = Signal()
"""The portal has the file."""
session_aborted = Signal()
"""The client or an operator ended the session, which releases its storage and its reservation."""
session_expired = Signal()
"""The inactive session expired, which releases its storage and its reservation."""
session_failed = Signal()
"""The file could not be completed, or its check refused it. ``session.failure`` has the reason."""
lease_taken_over = Signal()
"""A writer died without releasing the session, and another one continues."""
