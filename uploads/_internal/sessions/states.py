"""The states of a session: which follows which, and the one way from one to the next.

Each move is a compare-and-set on the row, and a row of history in the same transaction.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from uploads._internal.causes import cause_of
from uploads._internal.transfer.lease import Lease
from uploads._internal.transfer.transactions import alias
from uploads.models import Move, State, UploadSession

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
"""What moves a session from one state to another; there is no other way."""


def move(
    session: UploadSession,
    to: State,
    *,
    why: str = "",
    who: str = "",
    among: QuerySet[UploadSession] | None = None,
    **values: Any,
) -> bool:
    """Take the session out of the hands of whoever has it, into another state; tell whether that was so.

    It was not if the row changed hands since it was read, or is not ``among`` the rows that it has to be.
    """
    before = State(session.state)
    with transaction.atomic(using=alias(), savepoint=False):
        moved = session.change(held=False, among=among, state=to, **values)
        if moved:
            _note(session, before, to, why, who)
    return moved


def move_held(lease: Lease, to: State, *, keep: bool = False, why: str = "", who: str = "", **values: Any) -> None:
    """Move the session that ``lease`` holds, and let go of it unless ``keep``; raise LeaseLost if not the holder."""
    before = State(lease.session.state)
    with transaction.atomic(using=alias(), savepoint=False):
        lease.commit(keep=keep, state=to, **values)
        if to != before:
            _note(lease.session, before, to, why, who)


def note_problem(session: UploadSession, error: BaseException) -> None:
    """Keep in the history what failed while the session stays in its state; the same again is not repeated."""
    why = f"{error}: {cause_of(error)}" if error.__cause__ else cause_of(error)
    last = session.moves.order_by("-pk").values_list("why", flat=True).first()
    if last != why:
        _note(session, State(session.state), State(session.state), why, "")


def _note(session: UploadSession, before: State, to: State, why: str, who: str) -> None:
    Move.objects.create(session=session, before=before, after=to, why=why or MOVES[before, to], who=who)
