"""Signed tickets, which allow uploads for a field, and tokens, which let forms take files."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

from django.core import signing
from django.db import connections

from uploads._internal import conf, owners
from uploads.exceptions import ExtensionNotAllowed, FileTooLarge, NotAccepted
from uploads.models import PendingFile, State, UploadSession

TICKET, TOKEN = "uploads.forms.ticket", "uploads.forms.token"
KEY = "field"
"""The metadata key of a ticket."""
REASON = "the form has expired; reload the page and choose the file again"


@dataclass(frozen=True)
class Limits:
    """The files that a field accepts, and their location; signed against changes by clients."""

    label: str = ""
    """Identifies the field: a file for one form is not valid for another."""
    storage: str = "default"
    upload_to: str = ""
    """As in a FileField; empty for the app's own prefix."""
    model_field: str = ""
    """``app.model.field`` if its ``upload_to`` is a function."""
    longest: int = conf.MAX_NAME
    """Maximum length of the object's name."""
    max_size: int | None = None
    extensions: tuple[str, ...] = ()
    """Lower case, with the dot; empty if all are accepted."""

    def check(self, session: UploadSession) -> None:
        """Raise FileTooLarge or ExtensionNotAllowed if the field does not accept the file."""
        if self.max_size is not None and session.file_size > self.max_size:
            raise FileTooLarge(maximum=self.max_size)
        if self.extensions and not session.file_name.lower().endswith(self.extensions):
            raise ExtensionNotAllowed(allowed=", ".join(self.extensions))


def ticket(user: Any, limits: Limits) -> str:
    """Return a ticket that lets ``user`` upload for a field, for at least one ``FORM_LIFETIME``.

    It stays the same during a period, so that a reloaded page recognizes its earlier uploads.
    """
    payload = [owners.key_of(user), dataclasses.asdict(limits), _period()]
    return signing.Signer(salt=TICKET).sign_object(payload, compress=True)


def _period() -> int:
    return int(time.time() // conf.current().FORM_LIFETIME.total_seconds())


def limits_of(session: UploadSession, *, fresh: bool = False) -> Limits:
    """Return the limits of a session's ticket; raise NotAccepted if it is invalid.

    A ticket of another user is invalid; with ``fresh``, so is an expired one.
    """
    try:
        owner, payload, period = signing.Signer(salt=TICKET).unsign_object(session.metadata.get(KEY, ""))
    except signing.BadSignature as error:
        raise NotAccepted(reason=REASON) from error
    if owner != session.owner_key or (fresh and period < _period() - 1):
        raise NotAccepted(reason=REASON)
    return Limits(**payload | {"extensions": tuple(payload["extensions"])})


def token(session: UploadSession) -> str:
    """Return the token by which a form takes the file of a finished session."""
    return signing.dumps([session.pk.hex, session.owner_key], salt=TOKEN)


def pending_session(text: str, user: Any, limits: Limits | None = None) -> UploadSession | None:
    """Return the session of a token, if its file waits for ``user`` and the field.

    The label of ``limits`` names the field. Raise the errors of ``Limits.check`` if the field's limits were changed
    after the upload and exclude the file.
    """
    try:
        pk, owner = signing.loads(text, salt=TOKEN)
    except signing.BadSignature:
        return None
    if user is None or owner != owners.key_of(user):
        return None
    waiting = PendingFile.objects.filter(session=pk, given_up=False)
    if connections[waiting.db].in_atomic_block:  # Of two forms submitted at once, only the first gets the file.
        waiting = waiting.select_for_update()
    pending = waiting.first()
    if pending is None or pending.session.state != State.COMPLETED:
        return None
    session: UploadSession = pending.session
    if limits is not None:
        if limits_of(session).label != limits.label:
            return None
        limits.check(session)
    return session
