"""The life of a session: create, receive, complete, abort, expire. Knows no HTTP and no S3."""

from __future__ import annotations

from uploads.sessions.complete import complete, complete_due, retry
from uploads.sessions.create import FileRequest, create
from uploads.sessions.end import abort, expire_now, expire_stale, purge
from uploads.sessions.receive import Chunk, receive

__all__ = [
    "Chunk",
    "FileRequest",
    "abort",
    "complete",
    "complete_due",
    "create",
    "expire_now",
    "expire_stale",
    "purge",
    "receive",
    "retry",
]
