"""The life of a session: create, receive, complete, abort, expire. Knows no HTTP and no S3."""

from __future__ import annotations

from uploads.sessions.admission import alive
from uploads.sessions.audit import audit
from uploads.sessions.complete import complete, complete_due, retry
from uploads.sessions.copies import Origin
from uploads.sessions.create import FileRequest, create, create_edit
from uploads.sessions.end import abort, expire_now, expire_stale, purge
from uploads.sessions.numbered import finalize, receive_numbered
from uploads.sessions.receive import receive
from uploads.sessions.rules import ByteRange, Chunk, Rules
from uploads.sessions.whole import receive_whole
from uploads.transfer.lease import ask
from uploads.transfer.transactions import require_no_transaction

__all__ = [
    "ByteRange",
    "Chunk",
    "FileRequest",
    "Origin",
    "Rules",
    "abort",
    "alive",
    "ask",
    "audit",
    "complete",
    "complete_due",
    "create",
    "create_edit",
    "expire_now",
    "expire_stale",
    "finalize",
    "purge",
    "receive",
    "receive_numbered",
    "receive_whole",
    "require_no_transaction",
    "retry",
]
