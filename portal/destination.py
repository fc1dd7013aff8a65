"""The destination of this portal's uploads, for other portals to copy and adapt."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, uuid5

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models import Sum
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils import timezone

from portal.models import File, Folder, PreviousVersion
from uploads import destinations, names
from uploads.contrib.onlyoffice.views import format_date
from uploads.exceptions import FileNotFound, FolderNotFound
from uploads.models import UploadSession

if TYPE_CHECKING:
    from django.contrib.auth.models import User

FILE_TYPES = (
    ("video/", 2),
    ("audio/", 3),
    ("image/", 4),
    ("application/pdf", 10),
    ("text/", 7),
    ("application/zip", 1),
)
"""Prefixes of content types and the protocol's numbers for them."""
CONTENT_FIELDS = ("content", "content_type", "size", "crc32", "version", "updated", "encrypted")


class PortalDestination(destinations.Destination):
    def folder(self, user: AbstractBaseUser, folder_id: str) -> destinations.Folder:
        mine = Folder.objects.filter(owner=user.pk, trashed=None)
        folder = (
            mine.filter(parent=None).first() if folder_id in ("@my", "") else mine.filter(pk=as_id(folder_id)).first()
        )
        if folder is None:
            raise FolderNotFound
        return destinations.Folder(folder.pk, folder.path)

    def subfolder(
        self, user: AbstractBaseUser, folder: destinations.Folder, titles: Sequence[str]
    ) -> destinations.Folder:
        path = [int(pk) for pk in folder.path]
        for name in titles:
            new = {"owner_id": user.pk, "ancestors": path, "provisional": True}
            with transaction.atomic():
                _lock(path[-1])  # Not every database has unique constraints with a condition.
                path = Folder.objects.get_or_create(parent_id=path[-1], title=name, trashed=None, defaults=new)[0].path
        return destinations.Folder(path[-1], path)

    def file(self, user: AbstractBaseUser, file_id: str) -> destinations.EditableFile:
        file = _file_of(user, file_id)
        folder = destinations.Folder(file.folder_id, file.folder.path)
        return destinations.EditableFile(file.pk, file.title, folder, file.version)

    def describe(self, user: AbstractBaseUser, file_id: str) -> dict[str, Any]:
        file = _file_of(user, file_id)
        return describe(file, file.folder.owner)

    def existing(self, user: AbstractBaseUser, folder: destinations.Folder, titles: Sequence[str]) -> Collection[str]:
        live = File.objects.filter(folder_id=folder.id, trashed=None)
        return set(live.filter(title__in=titles, encrypted=False).values_list("title", flat=True))

    def free_space(self, user: AbstractBaseUser) -> int | None:
        if settings.QUOTA is None:
            return None
        mine = [File.objects.filter(folder__owner=user.pk), PreviousVersion.objects.filter(file__folder__owner=user.pk)]
        used: int = sum(contents.aggregate(size=Sum("size"))["size"] or 0 for contents in mine)
        return max(0, settings.QUOTA - used)

    def in_use(self, names: Collection[str]) -> Collection[str]:
        return {
            name
            for model in (File, PreviousVersion)
            for name in model.objects.filter(content__in=names).values_list("content", flat=True)
        }

    def publish(self, session: UploadSession) -> destinations.PublishedFile:
        folder = _lock(session.folder_id)
        file = _has_it_already(session) or _take_over(session, folder)
        Folder.objects.filter(pk__in=session.path, provisional=True).update(provisional=False)
        return destinations.PublishedFile(
            id=file.pk,
            folder_id=folder.pk,
            title=file.title,
            version=file.version,
            url=reverse("download", args=[file.pk]),
            details=describe(file, session.owner),
        )

    def discard(self, session: UploadSession) -> None:
        for folder_id in reversed(session.path):
            with transaction.atomic():
                folder = Folder.objects.select_for_update().filter(pk=folder_id, provisional=True).first()
                if folder and not _in_use(folder, besides=session):
                    folder.delete()


def _lock(folder_id: int | str) -> Folder:
    """Lock a folder, so that concurrent requests do not choose the same title in it."""
    folder = Folder.objects.select_for_update().filter(pk=folder_id, trashed=None).first()
    if folder is None:
        raise FolderNotFound
    return folder


def _has_it_already(session: UploadSession) -> File | None:
    """Return the file if an earlier attempt already published the session.

    This happens if the sessions have their own database and its COMMIT was lost.
    """
    previous = PreviousVersion.objects.select_related("file").filter(content=session.object_name).first()
    return previous.file if previous else File.objects.filter(content=session.object_name).first()


def _take_over(session: UploadSession, folder: Folder) -> File:
    file = _edited_file(session) if session.file_id else _new_file_or_version(session, folder)
    file.content = session.object_name  # The object is already stored, so its name is enough.
    file.content_type, file.size, file.crc32 = session.content_type, session.file_size, session.crc32 or 0
    file.encrypted, file.updated = session.encrypted, timezone.now()
    file.save()
    return file


def _file_of(user: AbstractBaseUser, file_id: str) -> File:
    files = File.objects.select_related("folder__owner").filter(folder__owner=user.pk, trashed=None)
    file = files.filter(pk=as_id(file_id)).first()
    if file is None:
        raise FileNotFound
    return file


def _edited_file(session: UploadSession) -> File:
    """Return the file to replace; its old object is deleted after the commit."""
    file = File.objects.select_for_update().filter(pk=session.file_id, trashed=None).first()
    if file is None:
        raise FileNotFound
    name, storage = str(file.content.name), file.content.storage
    transaction.on_commit(lambda: storage.delete(name), robust=True)
    return file


def _new_file_or_version(session: UploadSession, folder: Folder) -> File:
    """Return a new file, or the existing file of that title with a new version.

    A file in the trash stays as it is. The lock keeps another request from putting this file there meanwhile.
    """
    file = folder.files.select_for_update().filter(title=session.file_name, trashed=None).first()
    if file is None or session.create_new:
        title = free_title(folder.files, session.file_name) if file else session.file_name
        return File(folder=folder, title=title, created=session.file_created_at or timezone.now())
    PreviousVersion.objects.create(file=file, **{name: getattr(file, name) for name in CONTENT_FIELDS})
    file.version += 1
    return file


def describe(file: File, user: User | None) -> dict[str, Any]:
    """Return the file in the protocol's representation (FileDto)."""
    # Some clients accept only UUIDs as user ids.
    who = {"id": str(uuid5(NAMESPACE_OID, f"user {user.pk}")), "displayName": user.get_username()} if user else None
    return {
        "id": file.pk,
        "title": file.title,
        "folderId": file.folder_id,
        "version": file.version,
        "versionGroup": file.version,
        "fileExst": PurePosixPath(file.title).suffix.lower(),
        "fileType": next((kind for begin, kind in FILE_TYPES if file.content_type.startswith(begin)), 0),
        "encrypted": file.encrypted,
        "fileEntryType": 2,
        "fileStatus": 0,
        "access": 0,
        "rootFolderType": 5,
        "contentLength": filesizeformat(file.size).replace("\xa0", " "),
        "pureContentLength": file.size,
        "created": format_date(file.created),
        "createdBy": who,
        "updated": format_date(file.updated),
        "updatedBy": who,
        "viewUrl": file.get_absolute_url(),
        "webUrl": file.folder.get_absolute_url(),
        "security": {},
        "viewAccessibility": {},
    }


def as_id(text: str) -> int:
    """Parse a database id; return 0, which no row has, for an invalid one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def free_title(siblings: Any, title: str) -> str:
    """Return ``title``, or if a sibling has it, with the first free number: ``report (1).pdf``."""
    ending = PurePosixPath(title).suffix
    taken = set(siblings.filter(title__endswith=ending, trashed=None).values_list("title", flat=True))
    return next(name for name in names.variants(title) if name not in taken)


def _in_use(folder: Folder, *, besides: UploadSession) -> bool:
    coming = UploadSession.objects.unfinished().filter(folder_id=str(folder.pk))
    return folder.files.exists() or folder.folders.exists() or coming.exclude(pk=besides.pk).exists()
