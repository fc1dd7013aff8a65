"""The life of a session: create, receive, complete, abort, expire. Independent of HTTP and S3."""

from __future__ import annotations

from uploads._internal.sessions.admission import require_live, require_no_failure
from uploads._internal.sessions.audit import Comparison, audit, compare
from uploads._internal.sessions.check import RELEASABLE, check, checks_due, release_checked
from uploads._internal.sessions.complete import complete, complete_due, retry
from uploads._internal.sessions.concatenate import concatenate
from uploads._internal.sessions.create import FileRequest, create, create_edit
from uploads._internal.sessions.end import abort, delete_waiting, expire_now, expire_stale, extend, purge
from uploads._internal.sessions.limits import max_file_size
from uploads._internal.sessions.numbered.finalize import finalize
from uploads._internal.sessions.numbered.receive import check_number, receive_numbered
from uploads._internal.sessions.receive import receive
from uploads._internal.sessions.rules import ByteRange, Chunk, Duplicate, Fingerprint, Rules
from uploads._internal.sessions.whole import give_up, receive_whole
from uploads._internal.transfer.fragments import whole_crc32
from uploads._internal.transfer.lease import request_handover
from uploads._internal.transfer.targets import stored_of
from uploads._internal.transfer.transactions import require_no_transaction

__all__ = [
    "RELEASABLE",
    "ByteRange",
    "Chunk",
    "Comparison",
    "Duplicate",
    "FileRequest",
    "Fingerprint",
    "Rules",
    "abort",
    "audit",
    "check",
    "check_number",
    "checks_due",
    "compare",
    "complete",
    "complete_due",
    "concatenate",
    "create",
    "create_edit",
    "delete_waiting",
    "expire_now",
    "expire_stale",
    "extend",
    "finalize",
    "give_up",
    "max_file_size",
    "purge",
    "receive",
    "receive_numbered",
    "receive_whole",
    "release_checked",
    "request_handover",
    "require_live",
    "require_no_failure",
    "require_no_transaction",
    "retry",
    "stored_of",
    "whole_crc32",
]
