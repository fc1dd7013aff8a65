"""Partial uploads (tus 1.0, concatenation): their files wait until one upload joins them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uploads._internal.sessions import delete_pending_file
from uploads.destinations import Destination, Folder, PublishedFile, get_destination
from uploads.models import PendingFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.auth.models import AbstractBaseUser

    from uploads.models import UploadSession


class PartialDestination(Destination):
    """Keep the parts of a file for ``FORM_LIFETIME``. The destination ``whole`` gets the file."""

    whole = ""
    """Alias of that destination."""
    direct = False

    @property
    def _whole(self) -> Destination:
        return get_destination(self.whole)

    def folder(self, user: AbstractBaseUser, folder_id: str) -> Folder:
        """Return the file's folder; the client of a partial upload may not name one yet."""
        return self._whole.folder(user, folder_id) if folder_id else Folder("", [""])

    def free_space(self, user: AbstractBaseUser) -> int | None:
        return self._whole.free_space(user)

    def accept(self, user: AbstractBaseUser, session: UploadSession) -> None:
        storages = self._whole.storages
        if session.storage not in storages:
            session.storage = next(iter(storages))

    def prefix(self, session: UploadSession) -> str:
        return self._whole.prefix(session)

    def publish(self, session: UploadSession) -> PublishedFile:
        PendingFile.objects.get_or_create(session=session)
        return PublishedFile(id=session.pk.hex, folder_id=session.folder, title=session.file_name)

    def withdraw(self, session: UploadSession) -> None:
        for pending in PendingFile.objects.select_related("session").filter(session=session):
            delete_pending_file(pending)

    def audit_prefixes(self) -> Iterable[tuple[str, str]]:
        return ()  # Its objects are among those of the whole files.
