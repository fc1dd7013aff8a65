from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from portal.models import File, Folder

if TYPE_CHECKING:
    FolderModelAdmin = admin.ModelAdmin[Folder]
    FileModelAdmin = admin.ModelAdmin[File]
else:
    FolderModelAdmin = FileModelAdmin = admin.ModelAdmin


@admin.register(Folder)
class FolderAdmin(FolderModelAdmin):
    list_display = ("title", "owner", "parent", "created")
    list_select_related = ("owner", "parent")
    search_fields = ("title",)


@admin.register(File)
class FileAdmin(FileModelAdmin):
    list_display = ("title", "folder", "size", "version", "updated")
    list_select_related = ("folder",)
    search_fields = ("title",)
