"""States, results of checks and ways of sending."""

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
    """The file is whole, and nobody may see it before the portal's check (a virus scanner, say) has."""
    COMPLETED = "completed", _("completed")
    """The portal has the file."""
    ABORTED = "aborted", _("aborted")
    """Ended by the client or an operator."""
    EXPIRED = "expired", _("expired")
    """Ended because nothing happened for the session's lifetime."""
    FAILED = "failed", _("failed")
    """All bytes are stored, but completing was given up, or the check refused the file; an operator can retry."""


PAST_SENDING = (State.COMPLETING, State.CHECKING, State.COMPLETED)
"""States of a session that has all its bytes, and is a file or on its way to be one."""


class CheckResult(models.TextChoices):
    NONE = "", _("not checked")
    CLEAN = "clean", _("clean")
    REFUSED = "refused", _("refused")
    UNCHECKABLE = "uncheckable", _("could not be checked")
    UNCHECKED = "unchecked", _("let through, the checker being away")
    RELEASED = "released", _("released by an operator")


class Mode(models.TextChoices):
    UNDECIDED = "", _("undecided")
    """No chunk is stored yet."""
    SEQUENTIAL = "sequential", _("in order")
    """Chunks come one after another; the last byte completes the file."""
    NUMBERED = "numbered", _("numbered")
    """Chunks come in any order, several at once; finalize completes the file."""


MAY_EXPIRE = Q(state=State.OPEN) | Q(state=State.FAILED)
"""As the index has it, to the letter: with IN, SQLite does not see that they are the same."""
FINISHING = Q(state=State.COMPLETING) | Q(state=State.CHECKING)
"""Likewise."""
