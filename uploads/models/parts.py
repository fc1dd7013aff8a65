"""The stored data of a session: parts, fragments, segments, numbered chunks."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from uploads.models.managers import WrittenManager
from uploads.models.session import UploadSession


class UploadPart(models.Model):
    """A stored part of the file."""

    session = models.ForeignKey(UploadSession, models.CASCADE, related_name="parts", verbose_name=_("session"))
    offset = models.BigIntegerField(_("offset"), help_text=_("Position in the file."))
    size = models.BigIntegerField(_("size"))
    crc32 = models.BigIntegerField(
        _("CRC-32"), null=True, help_text=_("Empty if the client sent the part to the store without one.")
    )
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
        """The part's number in the file, from 1; 0 without a layout."""
        plan = self.session.plan
        return plan.index(self.offset) + 1 if plan else 0

    @property
    def crc(self) -> str:
        return "" if self.crc32 is None else f"{self.crc32:08x}"


class SignedPart(models.Model):
    """The checksum for which the URL of a part is signed.

    The store takes no other bytes, so it is also the checksum of what is stored.
    """

    session = models.ForeignKey(UploadSession, models.CASCADE, related_name="signed_parts")
    number = models.PositiveIntegerField()
    crc32 = models.BigIntegerField()

    objects = WrittenManager()

    class Meta:
        base_manager_name = "objects"
        ordering = ("number",)
        constraints = (models.UniqueConstraint(fields=["session", "number"], name="upload_sessions_signed_part"),)

    def __str__(self) -> str:
        return f"{self.session_id} #{self.number}: {self.crc32:08x}"


class Fragment(models.Model):
    """Bytes that are stored as a separate object until they make a part."""

    session = models.ForeignKey(UploadSession, models.CASCADE, related_name="fragments", verbose_name=_("session"))
    chunk = models.PositiveIntegerField(
        _("chunk"), default=0, help_text=_("The chunk's number; 0 for sequential chunks.")
    )
    offset = models.BigIntegerField(_("offset"), help_text=_("Position in the file or the numbered chunk."))
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
    """One of several multipart uploads of a large file.

    It becomes a separate object when it is complete, and is then copied into the file.
    """

    session = models.ForeignKey(UploadSession, models.CASCADE, related_name="segments", verbose_name=_("session"))
    index = models.PositiveIntegerField(_("index"))
    name = models.CharField(_("object name"), max_length=1100)
    upload_id = models.TextField(_("upload id"))
    size = models.BigIntegerField(_("size"), null=True, help_text=_("Set once the segment is an object."))
    crc32 = models.BigIntegerField(_("CRC-32"), null=True, help_text=_("Set once the segment is an object."))

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
    """A part of the file, copied from a segment. Composing resumes after the last one."""

    session = models.ForeignKey(UploadSession, models.CASCADE, related_name="copied_parts")
    number = models.PositiveIntegerField()
    size = models.BigIntegerField()
    crc32 = models.BigIntegerField(null=True, help_text=_("Set if the store reported it."))
    etag = models.CharField(max_length=255)

    objects = WrittenManager()

    class Meta:
        base_manager_name = "objects"
        ordering = ("number",)
        constraints = (models.UniqueConstraint(fields=["session", "number"], name="upload_sessions_copied_part"),)

    def __str__(self) -> str:
        return f"{self.number}: {self.size} bytes"


class NumberedChunk(models.Model):
    """A numbered chunk that a client sent or began to send."""

    session = models.ForeignKey(UploadSession, models.CASCADE, related_name="numbered_chunks")
    number = models.PositiveIntegerField()
    size = models.BigIntegerField(null=True, help_text="Number of bytes, once known.")
    crc32 = models.BigIntegerField(null=True, help_text="Set once the chunk is stored.")
    dirty_parts = models.JSONField(
        default=list,
        help_text="Parts, from 0, that an attempt may still write to; other attempts keep them as fragments.",
    )

    objects = WrittenManager()

    class Meta:
        base_manager_name = "objects"
        ordering = ("number",)
        constraints = (models.UniqueConstraint(fields=["session", "number"], name="upload_sessions_chunk_number"),)

    def __str__(self) -> str:
        return f"{self.session_id} #{self.number}"
