"""Changes of files and folders by users, with the deletion of stored objects."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from portal.destination import CONTENT_FIELDS
from portal.models import File, Folder, PreviousVersion


@transaction.atomic
def delete_file(file: File) -> None:
    names = [str(file.content.name), *file.previous_versions.values_list("content", flat=True)]
    file.delete()
    _delete_objects(names)


@transaction.atomic
def delete_folder(folder: Folder) -> None:
    """Delete a folder with all its content."""
    below = [other.pk for other in Folder.objects.filter(owner=folder.owner) if folder.pk in other.path]
    files = File.objects.filter(folder__in=below)
    versions = PreviousVersion.objects.filter(file__in=files)
    names = [*files.values_list("content", flat=True), *versions.values_list("content", flat=True)]
    folder.delete()
    _delete_objects(names)


@transaction.atomic
def restore(version: PreviousVersion) -> None:
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


def _delete_objects(names: Iterable[str]) -> None:
    """Delete objects after the commit, when nothing refers to them."""
    for name in names:
        transaction.on_commit(lambda name=name: default_storage.delete(name), robust=True)  # type: ignore[misc]
