"""Rows that are not about one session: stores, tasks, limits, the naming key; files that wait for their form."""

from __future__ import annotations

import secrets

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from uploads.models.managers import WrittenManager
from uploads.models.session import UploadSession


class HeldFile(models.Model):
    """A finished upload that waits for the form that takes it; its row goes in the form's transaction."""

    session = models.OneToOneField(UploadSession, models.CASCADE, related_name="held")
    since = models.DateTimeField(default=timezone.now, db_index=True)
    given_up = models.BooleanField(
        default=False, help_text="No form may take it any more: its bytes are being deleted."
    )

    objects = WrittenManager()

    class Meta:
        base_manager_name = "objects"

    def __str__(self) -> str:
        return str(self.session)


class StoreRecord(models.Model):
    """What is known of a store: which file marks its directory, what it was found to take or to refuse."""

    name = models.CharField(max_length=255, primary_key=True)
    marker = models.CharField(max_length=64, blank=True)
    capabilities = models.JSONField(default=dict)

    objects = WrittenManager()

    def __str__(self) -> str:
        return self.name


class TaskRun(models.Model):
    """When something periodic was last done, by Celery or by cron, so that it is noticed if it no longer is."""

    name = models.CharField(_("task"), max_length=50, primary_key=True)
    ran_at = models.DateTimeField(_("last run"))

    objects = WrittenManager()

    def __str__(self) -> str:
        return f"{self.name} at {self.ran_at}"

    @classmethod
    def note(cls, name: str) -> None:
        cls.objects.update_or_create(name=name, defaults={"ran_at": timezone.now()})


class Account(models.Model):
    """Where the sessions of an owner who has limits queue up, so that two of them cannot both take the last place."""

    owner_key = models.CharField(max_length=255, primary_key=True)

    objects = WrittenManager()

    def __str__(self) -> str:
        return self.owner_key


class NamingKey(models.Model):
    """The one random key by which names made for this database are told from all others on the same bucket.

    In the database and not in the settings: tenants with schemas of their own share these.
    """

    key = models.CharField(max_length=64, default=secrets.token_hex)

    objects = WrittenManager()

    def __str__(self) -> str:
        return str(self.pk)

    @classmethod
    def current(cls) -> str:
        key: str = (cls.objects.filter(pk=1).first() or cls.objects.get_or_create(pk=1)[0]).key
        return key
