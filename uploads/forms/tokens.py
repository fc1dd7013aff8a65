"""What is signed: the ticket that lets a field's file come, and the token that a form takes it by."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

from django.core import signing
from django.db import connections

from uploads._internal import conf, owners
from uploads.exceptions import ExtensionNotAllowed, FileTooLarge, NotAccepted
from uploads.models import HeldFile, State, UploadSession

TICKET, TOKEN = "uploads.forms.ticket", "uploads.forms.token"
KEY = "field"
"""The metadata that a ticket comes in."""
REASON = "reload the page and choose the file again"


@dataclass(frozen=True)
class Limits:
    """What a field takes, and where it goes. Signed, so that no client changes it."""

    label: str = ""
    """Names the field: what came for one form is not for another."""
    storage: str = "default"
    upload_to: str = ""
    """As of a FileField; empty for the app's own places."""
    model_field: str = ""
    """``app.model.field`` whose ``upload_to`` is a function."""
    longest: int = conf.MAX_NAME
    """Characters of the object's name."""
    max_size: int | None = None
    extensions: tuple[str, ...] = ()
    """Lower case, with the dot; empty for any."""

    def check(self, session: UploadSession) -> None:
        """Raise FileTooLarge or ExtensionNotAllowed for a file that the field does not take."""
        if self.max_size is not None and session.file_size > self.max_size:
            raise FileTooLarge(maximum=self.max_size)
        if self.extensions and not session.file_name.lower().endswith(self.extensions):
            raise ExtensionNotAllowed(allowed=", ".join(self.extensions))


def ticket(user: Any, limits: Limits) -> str:
    """Return what lets ``user`` send a file for a field, for one ``FORM_LIFETIME`` at least.

    The same for a while, so that a page that is loaded again knows the uploads that were begun before.
    """
    said = [owners.key_of(user), dataclasses.asdict(limits), _period()]
    return signing.Signer(salt=TICKET).sign_object(said, compress=True)


def _period() -> int:
    return int(time.time() // conf.current().FORM_LIFETIME.total_seconds())


def limits_of(session: UploadSession, *, fresh: bool = False) -> Limits:
    """Return the limits under which a file came; raise NotAccepted if its ticket is none, or somebody else's."""
    try:
        owner, said, period = signing.Signer(salt=TICKET).unsign_object(session.metadata.get(KEY, ""))
    except signing.BadSignature as error:
        raise NotAccepted(reason=REASON) from error
    if owner != session.owner_key or (fresh and period < _period() - 1):
        raise NotAccepted(reason=REASON)
    return Limits(**said | {"extensions": tuple(said["extensions"])})


def token(session: UploadSession) -> str:
    """Return what a form takes the file of a finished session by."""
    return signing.dumps([session.pk.hex, session.owner_key], salt=TOKEN)


def held_by(text: str, user: Any, limits: Limits | None = None) -> UploadSession | None:
    """Return the session whose file a token names, if it waits for ``user`` and for the field of the ``limits``.

    Raises what the limits raise, if the field has others than when the file came.
    """
    try:
        pk, owner = signing.loads(text, salt=TOKEN)
    except signing.BadSignature:
        return None
    if user is None or owner != owners.key_of(user):
        return None
    waiting = HeldFile.objects.filter(session=pk, given_up=False)
    if connections[waiting.db].in_atomic_block:  # Of two forms that are sent at once, the second sees it gone.
        waiting = waiting.select_for_update()
    held = waiting.first()
    if held is None or held.session.state != State.COMPLETED:
        return None
    session: UploadSession = held.session
    if limits is not None:
        if limits_of(session).label != limits.label:
            return None
        limits.check(session)
    return session
