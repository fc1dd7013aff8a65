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
from uploads._internal.conf import PARTIAL
from uploads._internal.parts import UploadPlan
from uploads.models.choices import FINISHING, MAY_EXPIRE, CheckResult, Mode, State
from uploads.models.managers import WrittenManager


class UploadSessionQuerySet(models.QuerySet["UploadSession"]):
    def of(self, user: Any) -> UploadSessionQuerySet:
        """Return the sessions of a user or of another principal, like a service account."""
        return self.filter(owner_key=owners.key_of(user))

    def named(self, object_names: Iterable[str]) -> UploadSessionQuerySet:
        """Return the sessions whose objects have these names, in any storage."""
        return self.filter(object_hash__in=[hash_of(name) for name in object_names])

    def open(self) -> UploadSessionQuerySet:
        return self.filter(state=State.OPEN)

    def unfinished(self) -> UploadSessionQuerySet:
        """Return the sessions that may still become files. Their declared sizes are reserved."""
        return self.filter(state__in=[State.OPEN, State.COMPLETING, State.CHECKING, State.FAILED])

    def idle(self) -> UploadSessionQuerySet:
        """Return the sessions without a valid lease, by the database's clock."""
        return self.filter(Q(lease_until=None) | Q(lease_until__lt=DatabaseNow()))

    def stale(self) -> UploadSessionQuerySet:
        """Return the open and failed sessions past their expiry time that have no valid lease."""
        return self.idle().filter(MAY_EXPIRE, expires_at__lte=DatabaseNow())

    def unreleased(self) -> UploadSessionQuerySet:
        """Return the ended sessions whose bytes may still be in the store, the oldest attempt first."""
        ended = self.filter(storage_released=False, state__in=[State.ABORTED, State.EXPIRED])
        return ended.order_by("updated_at")

    def due(self, state: State = State.COMPLETING) -> UploadSessionQuerySet:
        """Return the sessions whose completion, or check, is due and not in progress."""
        waiting = self.idle().filter(FINISHING, state=state)
        return waiting.filter(Q(retry_at=None) | Q(retry_at__lte=DatabaseNow())).order_by("retry_at")

    def retired(self, retention: timedelta) -> UploadSessionQuerySet:
        """Return the ended sessions that hold nothing and did not change during ``retention``."""
        ended = Q(state=State.COMPLETED) | Q(state__in=[State.ABORTED, State.EXPIRED], storage_released=True)
        return self.filter(ended, updated_at__lt=timezone.now() - retention, pending_file=None)


def hash_of(name: str) -> str:
    """Return an object name's hash for indexes, which have at most 768 characters in MySQL."""
    return hashlib.sha256(name.encode()).hexdigest()


class UploadSession(models.Model):
    """One file on its way into the portal."""

    State = State
    Mode = Mode

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner_key = models.CharField(
        _("owner"), max_length=255, help_text=_("Identifies the owner, who need not be a user in the database.")
    )
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.OPEN)

    destination = models.CharField(_("destination"), max_length=100, default="default")
    folder_id = models.CharField(_("folder"), max_length=255)
    path = models.JSONField(
        _("path"), default=list, encoder=DjangoJSONEncoder, help_text=_("Folder ids from the root to the folder.")
    )
    file_name = models.CharField(_("file name"), max_length=255)
    file_size = models.BigIntegerField(_("file size"), help_text=_("Declared, in bytes."))
    size_known = models.BooleanField(default=True, help_text=_("If not set, the file size is only an upper limit."))
    content_type = models.CharField(_("content type"), max_length=255)
    declared = models.JSONField(
        _("declared"), default=dict, blank=True, help_text=_("Other values from the client: metadata, creation time.")
    )
    encrypted = models.BooleanField(_("encrypted"), default=False)
    create_new = models.BooleanField(
        default=False, help_text=_("Keep an existing file of the same name and add another.")
    )

    client = models.JSONField(
        _("client"), default=dict, blank=True, help_text=_("The client's address and User-Agent.")
    )

    storage = models.CharField(_("storage"), max_length=255)
    object_name = models.CharField(_("object name"), max_length=1024)
    name_signature = models.CharField(
        max_length=50, help_text=_("Proves that an object name was made for this session.")
    )
    object_hash = models.CharField(
        max_length=64, help_text=_("SHA-256 of the object name, which is too long for an index.")
    )
    upload_id = models.TextField(_("upload id"), blank=True, help_text=_("The store's id of the multipart upload."))
    layout = models.JSONField(
        _("layout"),
        default=dict,
        blank=True,
        help_text=_("Bytes per part and numbered chunk, parts per copy and segment; set when the first bytes arrive."),
    )
    dirty_parts = models.JSONField(
        default=list,
        blank=True,
        help_text=_("Parts, from 0, that a sequential writer may still write to; they are kept as fragments."),
    )
    storage_released = models.BooleanField(
        default=False, help_text=_("No bytes of the ended session are left in the store.")
    )

    mode = models.CharField(_("chunks"), max_length=10, choices=Mode, default=Mode.UNDECIDED, blank=True)
    bytes_stored = models.BigIntegerField(_("bytes stored"), default=0)
    check_result = models.CharField(
        _("check result"), max_length=11, choices=CheckResult, default=CheckResult.NONE, blank=True
    )
    digests = models.JSONField(
        _("digests"),
        default=dict,
        blank=True,
        help_text=_("CRC-32 of the whole file; SHA-256 if the portal requests it."),
    )
    last_chunk = models.JSONField(
        default=dict, help_text=_("Size, CRC-32 and request fingerprint of the last sequential chunk.")
    )

    fence = models.BigIntegerField(
        default=0, help_text=_("Incremented when the writer changes; an earlier writer cannot commit.")
    )
    wanted_fence = models.BigIntegerField(
        null=True, help_text=_("The fence of the holder that was asked to release the lease.")
    )
    lease_until = models.DateTimeField(_("writer's lease"), null=True)

    attempts = models.PositiveIntegerField(_("completion attempts"), default=0)
    retry_at = models.DateTimeField(_("next attempt"), null=True)
    left_to_task = models.BooleanField(
        default=False, help_text=_("The request timed out; the task completes the session.")
    )
    failure = models.TextField(_("failure"), blank=True)
    file_id = models.CharField(
        _("file"), max_length=255, blank=True, help_text=_("The file to replace; later, the published file.")
    )
    file_version = models.PositiveIntegerField(default=1, help_text=_("The version of the file to replace."))
    result = models.JSONField(
        _("result"), null=True, encoder=DjangoJSONEncoder, help_text=_("The published file, as reported to the client.")
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
            ("extend_uploadsession", "Can extend upload sessions"),
            ("retry_uploadsession", "Can retry the completion of failed upload sessions"),
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

    @property
    def label(self) -> str:
        """The session in a log line: its id, as in URLs, its file and its owner."""
        return f"{self.pk.hex} ({self.file_name!r} of {self.owner_key})"

    @cached_property
    def owner(self) -> Any:
        """The session's owner, or None if it was deleted or is not a row."""
        owners.attach([self])
        return self.__dict__["owner"]

    @property
    def owner_id(self) -> Any:
        """The primary key of ``owner``, or None."""
        return self.owner and self.owner.pk

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata that the client sent beside the file's name and size."""
        return dict(self.declared.get("metadata", []))

    @property
    def is_partial(self) -> bool:
        """True if its bytes become part of another session's file."""
        return self.destination.endswith(PARTIAL)

    @property
    def partials(self) -> list[uuid.UUID]:
        """The ids of the partial uploads that make up the file."""
        return [uuid.UUID(hex=pk) for pk in self.declared.get("partials", [])]

    @property
    def folder(self) -> int | str:
        """The folder's id in the destination's type; ``folder_id`` is its text."""
        folder: int | str = self.path[-1]
        return folder

    @property
    def is_finishing(self) -> bool:
        """True if all bytes are stored and the file is being completed or checked."""
        return self.state in (State.COMPLETING, State.CHECKING)

    @property
    def is_sequential(self) -> bool:
        """True unless the bytes arrive as numbered chunks or go straight to the store."""
        return self.mode in (Mode.UNDECIDED, Mode.SEQUENTIAL)

    @property
    def is_whole(self) -> bool:
        return self.size_known and self.bytes_stored == self.file_size

    @property
    def plan(self) -> UploadPlan | None:
        """The layout of the file in the store; None before its first bytes."""
        sizes = {name: size for name, size in self.layout.items() if name not in ("chunk_size", "checked")}
        return UploadPlan(**sizes) if sizes else None

    @property
    def chunk_size(self) -> int | None:
        """Size in bytes of all numbered chunks but the last, once known."""
        size: int | None = self.layout.get("chunk_size")
        return size

    @property
    def crc32(self) -> int | None:
        """The CRC-32 of the whole file, once all bytes are stored."""
        crc32: int | None = self.digests.get("crc32")
        return crc32

    @property
    def crc(self) -> str | None:
        """The CRC-32 of the whole file in hexadecimal, None if unknown."""
        return None if self.crc32 is None else f"{self.crc32:08x}"

    @property
    def sha256(self) -> str:
        """The whole file's SHA-256 in hexadecimal, once known, if the portal requests it."""
        return str(self.digests.get("sha256", ""))

    @property
    def file_created_at(self) -> datetime | None:
        """The file's creation time, as declared by the client."""
        return parse_datetime(self.declared.get("created_at") or "")

    @property
    def is_segmented(self) -> bool:
        """True if the file consists of several multipart uploads, which the store joins."""
        return bool(self.layout.get("segment_parts"))

    @property
    def part_size(self) -> int | None:
        """Size in bytes of each part but the last; None before the first bytes."""
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
        """The end of the object's name: unique to the session and recognized by the audit."""
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
        """Update the row unless its fence changed since it was read; return True on success.

        ``held=False`` releases the session, or takes it away from its current writer. ``among`` restricts the update
        to rows of a queryset.
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
