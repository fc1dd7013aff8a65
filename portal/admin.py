from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db import models

from portal.models import Attachment, Document, File, Folder
from uploads.forms import UploadField

if TYPE_CHECKING:
    FolderModelAdmin = admin.ModelAdmin[Folder]
    FileModelAdmin = admin.ModelAdmin[File]
    DocumentModelAdmin = admin.ModelAdmin[Document]
    Stacked = admin.StackedInline[Attachment, Document]
    Tabular = admin.TabularInline[Attachment, Document]
else:
    FolderModelAdmin = FileModelAdmin = DocumentModelAdmin = admin.ModelAdmin
    Stacked, Tabular = admin.StackedInline, admin.TabularInline


BY_SESSIONS: Any = {models.FileField: {"form_class": UploadField}}
"""The only change needed for files of any size in the admin's forms."""


class AttachmentInline(Stacked):
    model = Attachment
    extra = 0
    formfield_overrides = BY_SESSIONS


class AttachmentTable(Tabular):
    """Demonstrate upload fields in a tabular inline."""

    model = Attachment
    extra = 1
    verbose_name_plural = "attachments in a table"
    formfield_overrides = BY_SESSIONS


@admin.register(Document)
class DocumentAdmin(DocumentModelAdmin):
    list_display = ("title", "owner", "created")
    formfield_overrides = BY_SESSIONS
    inlines = (AttachmentInline, AttachmentTable)


@admin.register(Folder)
class FolderAdmin(FolderModelAdmin):
    list_display = ("title", "owner", "parent", "created")
    readonly_fields = ("trashed",)
    list_select_related = ("owner", "parent")
    search_fields = ("title",)


@admin.register(File)
class FileAdmin(FileModelAdmin):
    list_display = ("title", "folder", "size", "version", "updated")
    readonly_fields = ("trashed",)
    list_select_related = ("folder",)
    search_fields = ("title",)
