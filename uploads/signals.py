"""Signals about sessions, sent after the transaction of the change, and about requests and calls.

Receivers of signals about sessions get ``session``. To refuse something, use ``Destination`` instead.
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
request_finished = Signal()
"""A request to a protocol's URL ended. Receivers get ``protocol``, ``method``, ``status``, and ``code``, the error's.

They also get ``session`` (or None), ``file_name`` and ``owner_key``. ``code`` is empty without an error, and the names
are empty if unknown.
"""
store_called = Signal()
"""A call to S3 ended. Receivers get ``operation`` and ``seconds``, in the thread of the call.

The portal's own calls with the storage's client count, too.
"""
