"""Changes of files and folders by users: the trash, versions, moves."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from celery import shared_task
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Count, F, Q, QuerySet
from django.utils import timezone

from portal.destination import CONTENT_FIELDS, free_title
from portal.models import File, Folder, PreviousVersion

TRASH_DAYS = 30
"""Days until items in the trash are deleted."""


def list_folders(owner: Any) -> list[Any]:
    """Return a user's folders with their full titles and the number of files in and below each."""
    own_files = Count("files", filter=Q(files__trashed=None))
    found: Any = Folder.objects.filter(owner=owner, trashed=None).annotate(own_files=own_files)
    folders = {folder.pk: folder for folder in found}
    totals: Counter[int] = Counter()
    for folder in folders.values():
        totals.update(dict.fromkeys(folder.path, folder.own_files))
    for folder in folders.values():
        folder.full_title = " / ".join(folders[pk].title for pk in folder.path if pk in folders)
        folder.file_count = totals[folder.pk]
    return sorted(folders.values(), key=lambda folder: folder.full_title)


@transaction.atomic
def put_into_trash(item: File | Folder) -> int:
    """Hide a file, or a folder with its content; return the number of files. Nothing is deleted yet."""
    item.trashed = timezone.now()
    item.save(update_fields=["trashed"])
    if isinstance(item, File):
        return 1
    count, level = 0, [item.pk]
    while level:  # First the folders, then their content, so that an upload cannot add files in between.
        count += File.objects.filter(folder__in=level, trashed=None).update(trashed=item.trashed)
        level = list(Folder.objects.filter(parent__in=level, trashed=None).values_list("pk", flat=True))
        Folder.objects.filter(pk__in=level).update(trashed=item.trashed)
    return count


def list_trash(folders: QuerySet[Folder], files: QuerySet[File]) -> list[File | Folder]:
    """Return items in the trash, the latest first; a folder stands for its content."""
    items: list[File | Folder] = [
        *folders.select_related("parent").filter(Q(parent__trashed=None) | ~Q(parent__trashed=F("trashed"))),
        *files.select_related("folder").filter(Q(folder__trashed=None) | ~Q(folder__trashed=F("trashed"))),
    ]
    return sorted(items, key=lambda item: item.trashed or timezone.now(), reverse=True)


@transaction.atomic
def restore_from_trash(items: QuerySet[Any], pk: int) -> Any:
    """Restore an item, with a free title, to its folder, or to the root folder if that is in the trash."""
    item = items.select_for_update().filter(pk=pk).first()
    if item is None:
        return None
    place = getattr(item, item.place)
    if place.trashed:
        place = Folder.objects.filter(owner=place.owner_id, parent=None).earliest("pk")
    Folder.objects.select_for_update().get(pk=place.pk)  # An upload must not choose the same title meanwhile.
    siblings = place.folders if isinstance(item, Folder) else place.files
    trashed, item.title, item.trashed = item.trashed, free_title(siblings, item.title), None
    setattr(item, item.place, place)
    item.save()
    if isinstance(item, Folder):
        below = [folder.pk for folder in Folder.objects.filter(owner=item.owner_id) if item.pk in folder.path]
        Folder.objects.filter(pk__in=below, trashed=trashed).update(trashed=None)
        File.objects.filter(folder__in=below, trashed=trashed).update(trashed=None)
        mend_ancestors(item)
    return item


@transaction.atomic
def empty_trash(folders: QuerySet[Folder], files: QuerySet[File]) -> int:
    """Delete items in the trash and their stored objects; return the number of files."""
    contents = list(files.select_for_update().values_list("content", flat=True))
    versions = PreviousVersion.objects.filter(file__in=files).values_list("content", flat=True)
    for name in [*contents, *versions]:
        # After the commit, when nothing refers to the object.
        transaction.on_commit(lambda name=name: default_storage.delete(name), robust=True)  # type: ignore[misc]
    files.delete()
    folders.delete()
    return len(contents)


@shared_task(ignore_result=True)
def empty_old_trash() -> None:
    old = Q(trashed__lt=timezone.now() - timedelta(days=TRASH_DAYS))
    empty_trash(Folder.objects.filter(old), File.objects.filter(old))


@transaction.atomic
def restore_version(version: PreviousVersion) -> None:
    """Restore an older content; the current content is kept as a version."""
    file = File.objects.select_for_update().get(pk=version.file_id)
    version = PreviousVersion.objects.get(pk=version.pk)  # Fails if the version was deleted before the file was locked.
    current = {name: getattr(file, name) for name in CONTENT_FIELDS}
    wanted = {name: getattr(version, name) for name in CONTENT_FIELDS}
    version.delete()
    PreviousVersion.objects.create(file=file, **current)
    for name, value in wanted.items():
        setattr(file, name, value)
    file.version, file.updated = current["version"] + 1, timezone.now()
    file.save()


@transaction.atomic
def mend_ancestors(folder: Folder) -> None:
    """Update the ancestors of a moved folder and of all folders below it."""
    folder.ancestors = folder.parent.path if folder.parent else []
    folder.save(update_fields=["ancestors"])
    for child in folder.folders.all():
        mend_ancestors(child)
