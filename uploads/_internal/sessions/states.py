"""The states of a session, and the transitions between them.

Each transition is a compare-and-set on the row, with a history row in the same transaction.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import Error, transaction
from django.db.models import F, QuerySet
from django.dispatch import Signal
from django.utils import timezone

from uploads._internal.causes import cause_of
from uploads._internal.transfer.lease import Lease
from uploads._internal.transfer.transactions import alias, durable, require_no_transaction
from uploads.exceptions import TransactionOpen
from uploads.models import Move, Refusal, State, UploadSession

logger = logging.getLogger(__name__)

MAX_REFUSALS = 30
"""Maximum number of error codes whose refusals a session's history counts."""
MAX_TEXT = 500
"""Maximum length of a refusal's sentence, which may quote a header of the client."""

MOVES = {
    (State.OPEN, State.COMPLETING): "the last byte is stored",
    (State.OPEN, State.ABORTED): "aborted",
    (State.OPEN, State.EXPIRED): "its time is up",
    (State.COMPLETING, State.COMPLETED): "verified and published",
    (State.COMPLETING, State.FAILED): "refused, or tried too often",
    (State.COMPLETING, State.CHECKING): "verified",
    (State.CHECKING, State.COMPLETING): "checked",
    (State.CHECKING, State.FAILED): "refused by the check",
    (State.CHECKING, State.ABORTED): "aborted",
    (State.FAILED, State.COMPLETING): "retried",
    (State.FAILED, State.ABORTED): "aborted",
    (State.FAILED, State.EXPIRED): "its time is up",
}
"""The allowed transitions, each with its default reason for the history."""


def move(
    session: UploadSession,
    to: State,
    *,
    why: str = "",
    who: str = "",
    among: QuerySet[UploadSession] | None = None,
    **values: Any,
) -> bool:
    """Move the session to another state and end its lease; return whether it moved.

    It does not move if it got another holder after it was read, or if its row is not ``among`` the given ones.
    """
    before = State(session.state)
    with transaction.atomic(using=alias(), savepoint=False):
        moved = session.change(held=False, among=among, state=to, **values)
        if moved:
            _note(session, before, to, why, who)
    return moved


def move_held(lease: Lease, to: State, *, keep: bool = False, why: str = "", who: str = "", **values: Any) -> None:
    """Move the session that ``lease`` holds, and release it unless ``keep``.

    Raises LeaseLost if the lease is no longer valid.
    """
    before = State(lease.session.state)
    with transaction.atomic(using=alias(), savepoint=False):
        lease.commit(keep=keep, state=to, **values)
        if to != before:
            _note(lease.session, before, to, why, who)


def announce(signal: Signal, session: UploadSession) -> None:
    """Send a signal about the session, unless its file is only a part of another one."""
    if not session.is_partial:
        signal.send_robust(UploadSession, session=session)


def note_problem(session: UploadSession, error: BaseException) -> None:
    """Record an error in the history of a session that keeps its state.

    An error equal to the last entry is not recorded again.
    """
    why = f"{error}: {cause_of(error)}" if error.__cause__ else cause_of(error)
    last = session.moves.order_by("-pk").values_list("why", flat=True).first()
    if last != why:
        _note(session, State(session.state), State(session.state), why, "")


def note_refusal(session: UploadSession, code: str, text: str, who: str) -> None:
    """Count a refused request in the session's history.

    A failure is only logged, because the client must get the refusal.
    """
    try:
        require_no_transaction()
        text, same = text[:MAX_TEXT], session.refusals.filter(code=code)
        with durable():
            again = same.update(times=F("times") + 1, text=text, last_at=timezone.now())
            if not again and session.refusals.count() < MAX_REFUSALS:
                Refusal.objects.create(session=session, code=code, text=text, who=who)
    except (Error, TransactionOpen, ValueError) as error:
        logger.warning("session %s: refusal %s is not in its history: %s", session.label, code, cause_of(error))


def _note(session: UploadSession, before: State, to: State, why: str, who: str) -> None:
    Move.objects.create(session=session, before=before, after=to, why=why or MOVES[before, to], who=who)
