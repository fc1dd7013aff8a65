"""The history of a session: its creation, changes of state, problems, refused requests, and operators' actions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext

from uploads._internal import owners
from uploads.admin.actions import ACTIONS
from uploads.models import Refusal, State, UploadSession


@dataclass
class Event:
    """One line of the history; ``owners.attach`` sets ``owner`` to the user."""

    at: datetime
    state: str
    why: str
    owner_key: str


def history_of(session: UploadSession) -> list[Event]:
    """Return the events, the oldest first."""
    created = Event(session.created_at, str(State.OPEN.label), gettext("created"), session.owner_key)
    moves = [Event(move.at, move.get_after_display(), move.why, move.who) for move in session.moves.all()]
    refusals = [_event_of(refusal) for refusal in session.refusals.all()]
    logged = LogEntry.objects.filter(
        content_type=get_content_type_for_model(UploadSession), object_id=str(session.pk)
    ).select_related("user")
    without_move = {action.logged for action in ACTIONS if not action.moves}
    actions = [
        Event(entry.action_time, "", entry.change_message, owners.key_of(entry.user))
        for entry in logged
        if entry.change_message in without_move
    ]
    return sorted([created, *moves, *refusals, *actions], key=lambda event: event.at)


def _event_of(refusal: Refusal) -> Event:
    about = refusal.code
    if refusal.times > 1:
        last = timezone.localtime(refusal.last_at) if timezone.is_aware(refusal.last_at) else refusal.last_at
        values = {"code": refusal.code, "count": refusal.times, "last": date_format(last, "Y-m-d H:i:s")}
        about = gettext("%(code)s, %(count)s times, last: %(last)s") % values
    return Event(refusal.first_at, gettext("refused"), f"{refusal.text} ({about})", refusal.who)
