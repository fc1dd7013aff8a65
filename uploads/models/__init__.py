"""Upload sessions and their stored parts: the only source of an upload's progress."""

from __future__ import annotations

from uploads.models.bookkeeping import Account, Move, NamingKey, PendingFile, Refusal, StoreRecord, TaskRun
from uploads.models.choices import FINISHING, MAY_EXPIRE, PAST_SENDING, CheckResult, Mode, State
from uploads.models.managers import WrittenManager
from uploads.models.parts import CopiedPart, Fragment, NumberedChunk, Segment, SignedPart, UploadPart
from uploads.models.session import UploadSession, UploadSessionQuerySet, hash_of

__all__ = [
    "FINISHING",
    "MAY_EXPIRE",
    "PAST_SENDING",
    "Account",
    "CheckResult",
    "CopiedPart",
    "Fragment",
    "Mode",
    "Move",
    "NamingKey",
    "NumberedChunk",
    "PendingFile",
    "Refusal",
    "Segment",
    "SignedPart",
    "State",
    "StoreRecord",
    "TaskRun",
    "UploadPart",
    "UploadSession",
    "UploadSessionQuerySet",
    "WrittenManager",
    "hash_of",
]
