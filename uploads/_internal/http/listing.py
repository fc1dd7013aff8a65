"""List a user's open sessions, page by page."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from uploads._internal.http.metadata import folders
from uploads.exceptions import InvalidRequest
from uploads.models import Mode, State, UploadSession
from uploads.names import split_path

PAGE = 50


def open_sessions(
    user: Any, destination: str, after: str, folder: object = None, *, numbered: bool = False
) -> tuple[list[UploadSession], str | None]:
    """Return a page of the user's open sessions, and the key of the next page.

    The newest come first. ``numbered`` selects sessions for numbered chunks instead of sessions in order. With a
    ``folder`` (its id), only sessions that began in it are returned, so a page may have fewer.

    Pages are addressed by key, not by number. No page costs more than the first, and new sessions do not shift the
    pages. Raises InvalidRequest for an ``after`` that no page returned.
    """
    alive = {"state": State.OPEN, "destination": destination, "expires_at__gt": timezone.now()}
    rows = UploadSession.objects.of(user).filter(**alive)
    rows = rows.exclude(mode=Mode.SEQUENTIAL if numbered else Mode.NUMBERED)
    if after:
        at, pk = _parsed(after)
        rows = rows.filter(Q(created_at__lt=at) | Q(created_at=at, pk__lt=pk))
    found = list(rows.order_by("-created_at", "-pk")[: PAGE + 1])
    page = found[:PAGE]
    after_this = f"{page[-1].created_at.isoformat()}~{page[-1].pk.hex}" if len(found) > PAGE else None
    if folder is not None:
        page = [session for session in page if _began_in(session) == str(folder)]
    return page, after_this


def _began_in(session: UploadSession) -> str:
    """Return the id of the folder in which the upload began, above its relativePath."""
    below = len(split_path("/".join(folders(session.metadata))))
    return str(session.path[-1 - below]) if below < len(session.path) else ""


def _parsed(after: str) -> tuple[datetime, uuid.UUID]:
    at, _, key = after.replace(" ", "+").partition("~")
    try:
        moment, pk = parse_datetime(at), uuid.UUID(hex=key)
        if moment is not None and timezone.is_aware(moment):
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or timezone.is_aware(moment) != settings.USE_TZ:
        message = "after must be the next of the page before."
        raise InvalidRequest(message)
    return moment, pk
