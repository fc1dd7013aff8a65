"""What an operator can do about a session: one text and the helpful actions for each situation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from uploads._internal import conf
from uploads._internal.sessions.complete import reason_of
from uploads.exceptions import UploadError
from uploads.models import CheckResult, State, UploadSession

STALLED_AFTER = timedelta(minutes=10)


@dataclass(frozen=True)
class Advice:
    text: Any
    actions: tuple[str, ...] = ()
    """Names of the actions that can help."""


UNFINISHED = "abort", "expire", "extend"
RETRY, HELD = ("retry", *UNFINISHED), ("release", "retry", *UNFINISHED)
LOST = "abort", "expire"

ADVICE = {
    State.OPEN: Advice(_("Wait: the client still has to send bytes, or to finish the upload."), UNFINISHED),
    "stalled": Advice(
        _(
            "The client is gone or offline. When the user chooses the same file again, it resumes. "
            "Extend the upload if it expires soon."
        ),
        UNFINISHED,
    ),
    State.COMPLETING: Advice(
        _(
            "Wait: all bytes are stored, and the file is being assembled and published. A large file takes minutes. "
            "After a failed attempt, the next one starts by itself."
        )
    ),
    State.CHECKING: Advice(
        _("Wait: the file is being checked. If the checker is down, start it, or release the file."),
        ("abort", "release"),
    ),
    State.COMPLETED: Advice(_("Nothing: the portal has the file.")),
    State.EXPIRED: Advice(_("The user uploads the file again: the upload was inactive for too long.")),
    State.ABORTED: Advice(_("The user uploads the file again: the client or an operator ended the upload.")),
    # Failed sessions, by the code of the error
    "portal_error": Advice(
        _("Correct the error in the portal's code, which the log shows with this id. Then retry."), RETRY
    ),
    "upload_error": Advice(_("Remove the cause that the failure names. Then retry."), RETRY),
    "storage_unavailable": Advice(_("Make sure that the store answers (uploads_doctor). Then retry."), RETRY),
    "storage_full": Advice(_("Add space to the store. Then retry."), RETRY),
    "storage_refused": Advice(
        _("Change what the store refuses, for example its permissions or limits (uploads_doctor). Then retry."), RETRY
    ),
    "rows_incomplete": Advice(_("Make sure that the database is complete and writable. Then retry."), RETRY),
    "too_many_attempts": Advice(
        _("Look up in the worker's log what ended each attempt, for example a lack of memory. Then retry."), RETRY
    ),
    "quota_exceeded": Advice(_("The user deletes files, or gets more space. Then retry."), RETRY),
    **dict.fromkeys(
        ("folder_not_found", "file_not_found"),
        Advice(
            _("Restore what is missing, then retry. Otherwise, the user uploads the file again, to another place."),
            RETRY,
        ),
    ),
    "upload_gone": Advice(
        _("The user uploads the file again. A retry cannot help: the store no longer has the bytes."), LOST
    ),
    "stored_object_wrong": Advice(
        _("The user uploads the file again. A retry cannot help: the store has other bytes than the client sent."), LOST
    ),
    "file_refused": Advice(
        _("Nothing, if the check is right. Otherwise release the file. A retry helps only after the checker changed."),
        HELD,
    ),
    "file_uncheckable": Advice(
        _("Release the file, or ask for another one. A retry helps only after the checker changed."), HELD
    ),
    "checker_unavailable": Advice(_("Start the checker, then retry. A release publishes the file unchecked."), HELD),
    "deleted": Advice(
        _("The user uploads another file. A retry or a release cannot help: the check had the file deleted."), LOST
    ),
}


def advise(session: UploadSession) -> Advice:
    if session.state == State.FAILED:
        return ADVICE.get(_failure_code(session), ADVICE["upload_error"])
    return ADVICE["stalled" if is_stalled(session) else session.state]


def is_stalled(session: UploadSession) -> bool:
    return session.state == State.OPEN and timezone.now() - session.updated_at > STALLED_AFTER


def _failure_code(session: UploadSession) -> str:
    """Return the code of the error whose text is ``failure``; a portal's errors may have any text."""
    config = conf.current()
    if session.failure == reason_of(Exception()):
        return "portal_error"
    code = next((kind.code for kind in _errors() if _pattern(kind).fullmatch(session.failure)), UploadError.code)
    policies = {CheckResult.REFUSED: config.ON_REFUSED, CheckResult.UNCHECKABLE: config.ON_UNCHECKABLE}
    if session.check_result not in policies or code == "checker_unavailable":
        return code
    if policies[CheckResult(session.check_result)] == "delete":
        return "deleted"
    return "file_refused" if session.check_result == CheckResult.REFUSED else "file_uncheckable"


def _errors(kind: type[UploadError] = UploadError) -> Iterator[type[UploadError]]:
    for known in kind.__subclasses__():
        yield known
        yield from _errors(known)


def _pattern(kind: type[UploadError]) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{.*?\\\}", ".*", re.escape(kind.text)), re.DOTALL)
