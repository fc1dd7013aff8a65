"""Upload sessions and their history."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from uploads import names
from uploads._internal import owners, parts
from uploads._internal.clock import DatabaseNow
from uploads._internal.parts import UploadPlan
from uploads.models.choices import FINISHING, MAY_EXPIRE, CheckResult, Mode, State
from uploads.models.managers import WrittenManager


class UploadSessionQuerySet(models.QuerySet["UploadSession"]):
    def of(self, user: Any) -> UploadSessionQuerySet:
        """Return the sessions of a user, or of whatever else may upload."""
        return self.filter(owner_key=owners.key_of(user))

    def named(self, object_names: Iterable[str]) -> UploadSessionQuerySet:
        """Return the sessions whose objects have these names, in whatever storage."""
        return self.filter(object_hash__in=[hash_of(name) for name in object_names])

    def open(self) -> UploadSessionQuerySet:
        return self.filter(state=State.OPEN)

    def unfinished(self) -> UploadSessionQuerySet:
        """Return the sessions that may still become files; what they declared is reserved."""
        return self.filter(state__in=[State.OPEN, State.COMPLETING, State.CHECKING, State.FAILED])

    def idle(self) -> UploadSessionQuerySet:
        """Return the sessions that no living writer holds, by the database's clock."""
        return self.filter(Q(lease_until=None) | Q(lease_until__lt=DatabaseNow()))

    def stale(self) -> UploadSessionQuerySet:
        """Return what the expiry task ends: open or failed, past their time, with no living writer."""
        return self.idle().filter(MAY_EXPIRE, expires_at__lte=DatabaseNow())

    def unreleased(self) -> UploadSessionQuerySet:
        """Return the ended sessions whose bytes may still be in the store, those first that were tried longest ago."""
        ended = self.filter(storage_released=False, state__in=[State.ABORTED, State.EXPIRED])
        return ended.order_by("updated_at")

    def due(self, state: State = State.COMPLETING) -> UploadSessionQuerySet:
        """Return the sessions whose completion, or check, nobody carries on at the moment."""
        waiting = self.idle().filter(FINISHING, state=state)
        return waiting.filter(Q(retry_at=None) | Q(retry_at__lte=DatabaseNow())).order_by("retry_at")

    def retired(self, retention: timedelta) -> UploadSessionQuerySet:
        """Return the ended sessions that hold nothing and were last touched longer ago than ``retention``."""
        ended = Q(state=State.COMPLETED) | Q(state__in=[State.ABORTED, State.EXPIRED], storage_released=True)
        return self.filter(ended, updated_at__lt=timezone.now() - retention, held=None)


def hash_of(name: str) -> str:
    """Return what stands for an object's name in indexes: MySQL's take at most 768 characters."""
    return hashlib.sha256(name.encode()).hexdigest()


class UploadSession(models.Model):
    """One file on its way into the portal."""

    State = State
    Mode = Mode

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner_key = models.CharField(_("owner"), max_length=255, help_text=_("Names the owner, who need not be a row."))
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.OPEN)

    destination = models.CharField(_("destination"), max_length=100, default="default")
    folder_id = models.CharField(_("folder"), max_length=255)
    path = models.JSONField(
        _("path"), default=list, encoder=DjangoJSONEncoder, help_text=_("Folder ids from the root to the folder.")
    )
    file_name = models.CharField(_("file name"), max_length=255)
    file_size = models.BigIntegerField(_("file size"), help_text=_("Declared, in bytes."))
    size_known = models.BooleanField(
        default=True, help_text=_("Otherwise the file size is the most that the file may have.")
    )
    content_type = models.CharField(_("content type"), max_length=255)
    declared = models.JSONField(
        _("declared"), default=dict, blank=True, help_text=_("What else the client declared: metadata, created at.")
    )
    encrypted = models.BooleanField(_("encrypted"), default=False)
    create_new = models.BooleanField(default=False, help_text=_("Keep an existing file of that name; add another."))

    client = models.JSONField(_("client"), default=dict, blank=True, help_text=_("Its address and User-Agent."))

    storage = models.CharField(_("storage"), max_length=255)
    object_name = models.CharField(_("object name"), max_length=1024)
    name_signature = models.CharField(max_length=50, help_text=_("What proves that a name was made for this session."))
    object_hash = models.CharField(
        max_length=64, help_text=_("SHA-256 of the object name, which is too long for an index.")
    )
    upload_id = models.TextField(_("upload id"), blank=True, help_text=_("The store's id of the multipart upload."))
    layout = models.JSONField(
        _("layout"),
        default=dict,
        blank=True,
        help_text=_(
            "Bytes of a part and of a numbered chunk, parts of a copy and of a segment; decided with the first bytes."
        ),
    )
    dirty_parts = models.JSONField(
        default=list,
        blank=True,
        help_text=_("Parts, from 0, that a writer in order may still write to; they are kept as fragments."),
    )
    storage_released = models.BooleanField(default=False, help_text=_("Nothing of an ended session is left stored."))

    mode = models.CharField(_("chunks"), max_length=10, choices=Mode, default=Mode.UNDECIDED, blank=True)
    bytes_stored = models.BigIntegerField(_("bytes stored"), default=0)
    check_result = models.CharField(
        _("check result"), max_length=11, choices=CheckResult, default=CheckResult.NONE, blank=True
    )
    digests = models.JSONField(
        _("digests"), default=dict, blank=True, help_text=_("CRC-32 of the whole file; SHA-256 where the portal asks.")
    )
    last_chunk = models.JSONField(
        default=dict, help_text=_("Size, CRC-32 and request fingerprint of the last chunk in order.")
    )

    fence = models.BigIntegerField(default=0, help_text=_("Counts the changes of hands; an old writer cannot commit."))
    wanted_fence = models.BigIntegerField(null=True, help_text=_("The fence whose holder somebody asked to let go."))
    lease_until = models.DateTimeField(_("writer's lease"), null=True)

    attempts = models.PositiveIntegerField(_("completion attempts"), default=0)
    retry_at = models.DateTimeField(_("next attempt"), null=True)
    left_to_task = models.BooleanField(
        default=False, help_text=_("The client's patience was over: the task has the next turn at completing.")
    )
    failure = models.TextField(_("failure"), blank=True)
    file_id = models.CharField(
        _("file"), max_length=255, blank=True, help_text=_("The file to replace, then the file that was published.")
    )
    file_version = models.PositiveIntegerField(default=1, help_text=_("The version of the file to replace."))
    result = models.JSONField(
        _("result"), null=True, encoder=DjangoJSONEncoder, help_text=_("The published file, as the client is told.")
    )

    created_at = models.DateTimeField(_("created"), default=timezone.now)
    updated_at = models.DateTimeField(_("last activity"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"))

    objects = WrittenManager.from_queryset(UploadSessionQuerySet)()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("upload session")
        verbose_name_plural = _("upload sessions")
        ordering = ("-created_at",)
        permissions = (
            ("abort_uploadsession", "Can abort upload sessions"),
            ("expire_uploadsession", "Can expire upload sessions"),
            ("extend_uploadsession", "Can give upload sessions more time"),
            ("retry_uploadsession", "Can retry completing failed upload sessions"),
            ("release_uploadsession", "Can release files that the check refused"),
        )
        indexes = (
            models.Index(fields=["expires_at"], condition=MAY_EXPIRE, name="upload_sessions_expires"),
            models.Index(fields=["retry_at"], condition=FINISHING, name="upload_sessions_retry"),
            models.Index(fields=["state", "storage_released", "updated_at"], name="upload_sessions_ended"),
            models.Index(fields=["-created_at"], name="upload_sessions_newest"),
            models.Index(fields=["state", "-created_at"], name="upload_sessions_state_newest"),
            models.Index(fields=["owner_key", "state"], name="upload_sessions_owner"),
        )
        constraints = (
            models.CheckConstraint(condition=Q(state__in=State.values), name="upload_sessions_state"),
            models.CheckConstraint(condition=Q(mode__in=Mode.values), name="upload_sessions_mode"),
            models.CheckConstraint(
                condition=Q(file_size__gte=0, file_size__lte=parts.MAX_OBJECT_SIZE), name="upload_sessions_file_size"
            ),
            models.CheckConstraint(
                condition=Q(bytes_stored__gte=0, bytes_stored__lte=F("file_size")), name="upload_sessions_bytes_stored"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[State.COMPLETING, State.CHECKING, State.COMPLETED, State.FAILED])
                | Q(bytes_stored=F("file_size")),
                name="upload_sessions_complete_is_whole",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.COMPLETED) | ~Q(file_id=""), name="upload_sessions_completed_has_file"
            ),
            models.UniqueConstraint(fields=["object_hash", "storage"], name="upload_sessions_object"),
        )

    def __str__(self) -> str:
        return f"{self.file_name} ({self.id.hex})"

    @cached_property
    def owner(self) -> Any:
        """The user whose session it is, or None if that is no row of the portal, or was deleted."""
        owners.attach([self])
        return self.__dict__["owner"]

    @property
    def owner_id(self) -> Any:
        """The primary key of ``owner``, or None."""
        return self.owner and self.owner.pk

    @property
    def metadata(self) -> dict[str, str]:
        """What its client said of the file beside its name and size."""
        return dict(self.declared.get("metadata", []))

    @property
    def folder(self) -> int | str:
        """The folder's id in the type that the destination gave it; ``folder_id`` is its text."""
        folder: int | str = self.path[-1]
        return folder

    @property
    def is_finishing(self) -> bool:
        """Whether all bytes are stored, and the file is on its way."""
        return self.state in (State.COMPLETING, State.CHECKING)

    @property
    def is_whole(self) -> bool:
        return self.size_known and self.bytes_stored == self.file_size

    @property
    def plan(self) -> UploadPlan | None:
        """How the file is laid out in the store; None before its first bytes."""
        sizes = {name: size for name, size in self.layout.items() if name != "chunk_size"}
        return UploadPlan(**sizes) if sizes else None

    @property
    def chunk_size(self) -> int | None:
        """Bytes of all numbered chunks but the last, once that is known."""
        size: int | None = self.layout.get("chunk_size")
        return size

    @property
    def crc32(self) -> int | None:
        """The CRC-32 of the whole file, once all bytes are stored."""
        crc32: int | None = self.digests.get("crc32")
        return crc32

    @property
    def sha256(self) -> str:
        """The SHA-256 of the whole file in hexadecimal, once known, if the portal asks for it."""
        return str(self.digests.get("sha256", ""))

    @property
    def file_created_at(self) -> datetime | None:
        """When the file was made, as its client declared."""
        return parse_datetime(self.declared.get("created_at") or "")

    @property
    def is_segmented(self) -> bool:
        """Whether the file is several multipart uploads, which the store joins."""
        return bool(self.layout.get("segment_parts"))

    @property
    def part_size(self) -> int | None:
        """Bytes of each part but the last; None before the first bytes."""
        return self.plan.part_size if self.plan else None

    @property
    def bytes_composed(self) -> int:
        """Bytes of segments that the store has copied into the file."""
        return sum(self.copied_parts.values_list("size", flat=True))

    @property
    def remaining(self) -> int:
        """Bytes still to come."""
        return self.file_size - self.bytes_stored

    @property
    def storage_name(self) -> str:
        """What the name of the object ends with: unique to the session, and known to the audit as ours."""
        return f"{self.name_signature}/{names.for_storage(self.file_name)}"

    def name_object(self, name: str) -> None:
        self.object_name, self.object_hash = name, hash_of(name)

    def change(
        self,
        *,
        held: bool = True,
        among: models.QuerySet[UploadSession] | None = None,
        **values: Any,
    ) -> bool:
        """Write ``values`` to the row if it did not change hands since it was read; tell whether that was so.

        ``held`` False lets go of the session, or takes it out of the hands of whoever holds it. ``among`` writes only
        if the row is one of those.
        """
        values["updated_at"] = timezone.now()
        fence = self.fence
        if not held:
            values |= {"fence": fence + 1, "lease_until": None}
        same = (UploadSession.objects.all() if among is None else among).filter(pk=self.pk, fence=fence)
        rows = same.update(**values)
        if rows:
            for name, value in values.items():
                setattr(self, name, value)
        return bool(rows)


class Move(models.Model):
    """A session's way from one state to another: its history."""

    session = models.ForeignKey(UploadSession, models.CASCADE, related_name="moves", verbose_name=_("session"))
    at = models.DateTimeField(_("when"), default=timezone.now)
    before = models.CharField(_("from"), max_length=10, choices=State)
    after = models.CharField(_("to"), max_length=10, choices=State)
    why = models.TextField(_("why"), blank=True)
    who = models.CharField(_("who"), max_length=255, blank=True, help_text=_("Empty for the app itself."))

    objects = WrittenManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("move")
        verbose_name_plural = _("history")
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.before} → {self.after}: {self.why}"
