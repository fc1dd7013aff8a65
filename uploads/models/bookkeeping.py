"""Models for the history, stores, tasks, limits, the naming key, and files that wait for a form."""

from __future__ import annotations

import secrets
from typing import Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from uploads.models.choices import State
from uploads.models.managers import WrittenManager
from uploads.models.session import UploadSession


class Move(models.Model):
    """A change of a session's state; all of them are its history."""

    session = models.ForeignKey(UploadSession, models.CASCADE, related_name="moves", verbose_name=_("session"))
    at = models.DateTimeField(_("time"), default=timezone.now)
    before = models.CharField(_("from"), max_length=10, choices=State)
    after = models.CharField(_("to"), max_length=10, choices=State)
    why = models.TextField(_("reason"), blank=True)
    who = models.CharField(_("user"), max_length=255, blank=True, help_text=_("Empty if the app made the change."))

    objects = WrittenManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("state change")
        verbose_name_plural = _("history")
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.before} → {self.after}: {self.why}"


class Refusal(models.Model):
    """Refused requests of a session that have the same error code."""

    # Without a constraint, MySQL does not lock the session's row, which a slow publication may hold.
    session = models.ForeignKey(UploadSession, models.CASCADE, related_name="refusals", db_constraint=False)
    code = models.CharField(max_length=100)
    text = models.TextField(help_text="The sentence of the last refusal.")
    who = models.CharField(max_length=255)
    times = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField(default=timezone.now)
    last_at = models.DateTimeField(default=timezone.now)

    objects = WrittenManager()

    class Meta:
        base_manager_name = "objects"
        constraints = (models.UniqueConstraint(fields=["session", "code"], name="upload_sessions_refusal_code"),)

    def __str__(self) -> str:
        return f"{self.code}, {self.times} times"


class PendingFile(models.Model):
    """A finished upload that waits for a form, or for the file it is a part of. Their transaction deletes the row."""

    session = models.OneToOneField(UploadSession, models.CASCADE, related_name="pending_file")
    since = models.DateTimeField(default=timezone.now, db_index=True)
    given_up = models.BooleanField(
        default=False, help_text="No form may take the file any more; its bytes are being deleted."
    )

    objects = WrittenManager()

    class Meta:
        base_manager_name = "objects"

    def __str__(self) -> str:
        return str(self.session)

    @classmethod
    def take(cls, rows: models.QuerySet[Any]) -> int:
        """Delete rows in the caller's transaction; return the number of files that were not given up.

        The UPDATE decides, because ``delete`` selects first if the portal has receivers of ``post_delete``.
        """
        taken: int = rows.filter(given_up=False).update(given_up=True)
        rows.delete()
        return taken


class StoreRecord(models.Model):
    """Facts about a store: the marker of its directory, and its detected capabilities."""

    name = models.CharField(max_length=255, primary_key=True)
    marker = models.CharField(max_length=64, blank=True)
    capabilities = models.JSONField(default=dict)

    objects = WrittenManager()

    def __str__(self) -> str:
        return self.name


class TaskRun(models.Model):
    """The time of a periodic task's last run, by Celery or cron.

    The doctor uses it to notice a task that no longer runs.
    """

    name = models.CharField(_("task"), max_length=50, primary_key=True)
    ran_at = models.DateTimeField(_("last run"))

    objects = WrittenManager()

    def __str__(self) -> str:
        return f"{self.name} at {self.ran_at}"

    @classmethod
    def note(cls, name: str) -> None:
        cls.objects.update_or_create(name=name, defaults={"ran_at": timezone.now()})


class Account(models.Model):
    """A lock for the sessions of an owner with limits.

    It serializes their creation, so that two sessions cannot both take the last slot.
    """

    owner_key = models.CharField(max_length=255, primary_key=True)

    objects = WrittenManager()

    def __str__(self) -> str:
        return self.owner_key


class NamingKey(models.Model):
    """The random key that distinguishes this database's object names from others in the same bucket.

    The key is in the database, because tenants with separate schemas share the settings.
    """

    key = models.CharField(max_length=64, default=secrets.token_hex)

    objects = WrittenManager()

    def __str__(self) -> str:
        return str(self.pk)

    @classmethod
    def current(cls) -> str:
        key: str = (cls.objects.filter(pk=1).first() or cls.objects.get_or_create(pk=1)[0]).key
        return key
