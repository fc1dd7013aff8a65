"""Partial uploads (tus 1.0, concatenation): their files wait until one upload joins them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uploads._internal import conf
from uploads._internal.sessions import delete_waiting
from uploads.destinations import Destination, Folder, PublishedFile, get_destination
from uploads.destinations.registry import FORMS
from uploads.exceptions import NotAccepted
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
    databases = ()

    @property
    def _whole(self) -> Destination:
        return get_destination(self.whole)

    def folder(self, user: AbstractBaseUser, folder_id: str) -> Folder:
        return self._whole.folder(user, folder_id)

    def free_space(self, user: AbstractBaseUser) -> int | None:
        return self._whole.free_space(user)

    def accept(self, user: AbstractBaseUser, session: UploadSession) -> None:
        """Refuse parts of a form's file, whose ticket is for a whole file.

        The rules of the portal apply to the whole file.
        """
        if self.whole == FORMS:
            raise NotAccepted(reason="form fields take no partial uploads")
        storages = self._whole.storages
        if session.storage not in storages:
            session.storage = min(storages)

    def prefix(self, session: UploadSession) -> str:
        return self._whole.prefix(session)

    def publish(self, session: UploadSession) -> PublishedFile:
        PendingFile.objects.get_or_create(session=session)
        return PublishedFile(id=session.pk.hex, folder_id=session.folder, title=session.file_name)

    def withdraw(self, session: UploadSession) -> None:
        delete_waiting(session)

    def audit_prefixes(self) -> Iterable[tuple[str, str]]:
        return [(storage, conf.current().OBJECT_PREFIX) for storage in sorted(self._whole.storages)]
