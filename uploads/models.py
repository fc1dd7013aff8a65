"""Upload sessions and their parts: the only truth about progress."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models, router
from django.db.models import F, Q
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from uploads import names
from uploads._internal import owners, parts
from uploads._internal.clock import DatabaseNow
from uploads._internal.parts import UploadPlan


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


class WrittenManager(models.Manager[Any]):
    """Reads from the database that is written to: a replica that lags behind would decide on rows of the past."""

    def get_queryset(self) -> models.QuerySet[Any]:
        return super().get_queryset().using(self._db or router.db_for_write(self.model))


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


class UploadPart(models.Model):
    """A part of the file that the store has."""

    session = models.ForeignKey(UploadSession, models.CASCADE, related_name="parts", verbose_name=_("session"))
    offset = models.BigIntegerField(_("offset"), help_text=_("In the file."))
    size = models.BigIntegerField(_("size"))
    crc32 = models.BigIntegerField(_("CRC-32"))
    etag = models.CharField(_("ETag"), max_length=255, blank=True)
    created_at = models.DateTimeField(_("stored"), default=timezone.now)

    objects = WrittenManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("part")
        verbose_name_plural = _("parts")
        ordering = ("offset",)
        constraints = (
            models.UniqueConstraint(fields=["session", "offset"], name="upload_sessions_part_offset"),
            models.CheckConstraint(condition=Q(offset__gte=0, size__gte=0), name="upload_sessions_part_extent"),
        )

    def __str__(self) -> str:
        return f"{self.size} bytes at {self.offset}"

    @property
    def number(self) -> int:
        """Which part of the file it is, from 1."""
        plan = self.session.plan
        return plan.index(self.offset) + 1 if plan else 0

    @property
    def crc(self) -> str:
        return f"{self.crc32:08x}"


class Fragment(models.Model):
    """Bytes that the store keeps as an object of their own until they make a part."""

    session = models.ForeignKey(UploadSession, models.CASCADE, related_name="fragments", verbose_name=_("session"))
    chunk = models.PositiveIntegerField(_("chunk"), default=0, help_text=_("Its number; 0 if chunks come in order."))
    offset = models.BigIntegerField(_("offset"), help_text=_("In the file or the numbered chunk."))
    size = models.BigIntegerField(_("size"))
    crc32 = models.BigIntegerField(_("CRC-32"))
    name = models.CharField(_("object name"), max_length=1100)
    created_at = models.DateTimeField(_("stored"), default=timezone.now)

    objects = WrittenManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("fragment")
        verbose_name_plural = _("fragments")
        ordering = ("chunk", "offset")
        constraints = (
            models.UniqueConstraint(fields=["session", "chunk", "offset"], name="upload_sessions_fragment_offset"),
            models.CheckConstraint(condition=Q(offset__gte=0, size__gt=0), name="upload_sessions_fragment_extent"),
        )

    def __str__(self) -> str:
        return f"{self.name}: {self.size} bytes at {self.offset}"

    @property
    def crc(self) -> str:
        return f"{self.crc32:08x}"


class Segment(models.Model):
    """One of several multipart uploads of a file: an object of its own when it is whole, and copied into the file."""

    session = models.ForeignKey(UploadSession, models.CASCADE, related_name="segments", verbose_name=_("session"))
    index = models.PositiveIntegerField(_("index"))
    name = models.CharField(_("object name"), max_length=1100)
    upload_id = models.TextField(_("upload id"))
    size = models.BigIntegerField(_("size"), null=True, help_text=_("Once it is an object."))
    crc32 = models.BigIntegerField(_("CRC-32"), null=True, help_text=_("Likewise."))

    objects = WrittenManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("segment")
        verbose_name_plural = _("segments")
        ordering = ("index",)
        constraints = (models.UniqueConstraint(fields=["session", "index"], name="upload_sessions_segment_index"),)

    def __str__(self) -> str:
        return f"{self.index}: {self.size} bytes"


class CopiedPart(models.Model):
    """A part of the file that the store has copied from a segment, so that composing goes on where it stopped."""

    session = models.ForeignKey(UploadSession, models.CASCADE, related_name="copied_parts")
    number = models.PositiveIntegerField()
    size = models.BigIntegerField()
    crc32 = models.BigIntegerField(null=True, help_text=_("If the store told it."))
    etag = models.CharField(max_length=255)

    objects = WrittenManager()

    class Meta:
        base_manager_name = "objects"
        ordering = ("number",)
        constraints = (models.UniqueConstraint(fields=["session", "number"], name="upload_sessions_copied_part"),)

    def __str__(self) -> str:
        return f"{self.number}: {self.size} bytes"


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


class NumberedChunk(models.Model):
    """A numbered chunk that a client sent or began to send."""

    session = models.ForeignKey(UploadSession, models.CASCADE, related_name="numbered_chunks")
    number = models.PositiveIntegerField()
    size = models.BigIntegerField(null=True, help_text="Bytes, once they are known.")
    crc32 = models.BigIntegerField(null=True, help_text="Once the chunk is stored.")
    dirty_parts = models.JSONField(
        default=list, help_text="Parts, from 0, that an attempt may still write to; others keep them as fragments."
    )

    objects = WrittenManager()

    class Meta:
        base_manager_name = "objects"
        ordering = ("number",)
        constraints = (models.UniqueConstraint(fields=["session", "number"], name="upload_sessions_chunk_number"),)

    def __str__(self) -> str:
        return f"{self.session_id} #{self.number}"
