"""Choices for session states, check results and the order of chunks."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class State(models.TextChoices):
    OPEN = "open", _("open")
    """Accepts chunks."""
    COMPLETING = "completing", _("completing")
    """All bytes are stored; the file is being assembled, verified and published."""
    CHECKING = "checking", _("checking")
    """Complete, but hidden until the file passes the portal's check (e.g. a virus scan)."""
    COMPLETED = "completed", _("completed")
    """The portal has the file."""
    ABORTED = "aborted", _("aborted")
    """Ended by the client or an operator."""
    EXPIRED = "expired", _("expired")
    """Ended because the session was inactive for its lifetime."""
    FAILED = "failed", _("failed")
    """All bytes are stored, but completion was abandoned or the check refused the file.

    An operator can retry.
    """


PAST_SENDING = (State.COMPLETING, State.CHECKING, State.COMPLETED)
"""States of a session with all bytes that is, or is becoming, a file."""


class CheckResult(models.TextChoices):
    NONE = "", _("not checked")
    CLEAN = "clean", _("clean")
    REFUSED = "refused", _("refused")
    UNCHECKABLE = "uncheckable", _("could not be checked")
    UNCHECKED = "unchecked", _("published unchecked: checker unavailable")
    RELEASED = "released", _("released by an operator")


class Mode(models.TextChoices):
    UNDECIDED = "", _("undecided")
    """No chunk is stored yet."""
    SEQUENTIAL = "sequential", _("sequential")
    """Chunks arrive in order. The last byte completes the file."""
    NUMBERED = "numbered", _("numbered")
    """Chunks arrive in any order, several at once. A finalize request completes the file."""
    DIRECT = "direct", _("direct")
    """The client sends parts to the store itself, by signed URLs. A request completes the file."""


MAY_EXPIRE = Q(state=State.OPEN) | Q(state=State.FAILED)
"""The exact condition of the index. SQLite does not recognize an equivalent condition with IN."""
FINISHING = Q(state=State.COMPLETING) | Q(state=State.CHECKING)
"""The exact condition of the other index, for the same reason."""
