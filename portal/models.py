from __future__ import annotations

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

SAFE_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"})
LIVE = models.Q(trashed=None)


class Trashable(models.Model):
    """An item that users delete into the trash; ``portal/tidy.py`` deletes it later."""

    place: str
    """Name of the field with the folder that the item is in."""
    trashed = models.DateTimeField(null=True, blank=True, db_index=True, help_text="Put into the trash at this time.")

    class Meta:
        abstract = True


class Folder(Trashable):
    """A folder of a user; the one without a parent is the root."""

    place = "parent"
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="folders")
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True, related_name="folders")
    title = models.CharField(max_length=255)
    ancestors = models.JSONField(default=list, help_text="Ids from the root to the parent.")
    created = models.DateTimeField(default=timezone.now)
    provisional = models.BooleanField(default=False, help_text="Created for uploads; none of them has arrived.")

    class Meta:
        ordering = ("title",)
        constraints = (
            models.UniqueConstraint(fields=["parent", "title"], condition=LIVE, name="portal_folder_title"),
            models.UniqueConstraint(fields=["owner"], condition=models.Q(parent=None), name="portal_one_root_folder"),
        )

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("folder", args=[self.pk])

    @property
    def path(self) -> list[int]:
        """Ids from the root to this folder."""
        return [*self.ancestors, self.pk]


class Content(models.Model):
    """Stored bytes; the FileField adopts the object that an upload session wrote."""

    content = models.FileField(max_length=255, db_index=True)
    content_type = models.CharField(max_length=255)
    size = models.BigIntegerField()
    crc32 = models.BigIntegerField()
    version = models.PositiveIntegerField(default=1)
    encrypted = models.BooleanField(default=False, help_text="Encrypted at rest, as the client requested.")
    updated = models.DateTimeField(default=timezone.now)

    class Meta:
        abstract = True


class File(Content, Trashable):
    """A file in a folder, with its current content."""

    place = "folder"
    folder = models.ForeignKey(Folder, models.CASCADE, related_name="files")
    title = models.CharField(max_length=255)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("title",)
        constraints = (models.UniqueConstraint(fields=["folder", "title"], condition=LIVE, name="portal_file_title"),)

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("download", args=[self.pk])

    @property
    def is_image(self) -> bool:
        """True for image types without scripts, which are safe to display in a browser."""
        return self.content_type in SAFE_IMAGES


class PreviousVersion(Content):
    """The content of a file before it was replaced."""

    file = models.ForeignKey(File, models.CASCADE, related_name="previous_versions")

    class Meta:
        ordering = ("-version",)
        constraints = (models.UniqueConstraint(fields=["file", "version"], name="portal_file_version"),)

    def __str__(self) -> str:
        return f"{self.file_id} v{self.version}"


def beside_document(attachment: Attachment, name: str) -> str:
    return f"attachments/{name}"


class Document(models.Model):
    """A document with its own file, uploaded through a form."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="documents")
    title = models.CharField(max_length=200)
    file = models.FileField(upload_to="documents/%Y/%m", max_length=255, blank=True)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-created",)

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("document", args=[self.pk])


class Attachment(models.Model):
    document = models.ForeignKey(Document, models.CASCADE, related_name="attachments")
    file = models.FileField(upload_to=beside_document, max_length=255)

    def __str__(self) -> str:
        return str(self.file)
