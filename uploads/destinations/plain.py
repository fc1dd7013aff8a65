"""A destination for portals without folders and without a model for files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uploads.destinations.base import ROOT, Destination, Folder, PublishedFile

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

    from uploads.models import UploadSession


class PlainDestination(Destination):
    """Keep the object; its name is the file's id.

    Every user of the endpoints may upload. A folder id from the client is kept as a label. Connect to
    ``uploads.signals.session_completed`` to process ``session.object_name``.
    """

    def folder(self, user: AbstractBaseUser, folder_id: str) -> Folder:
        return Folder(folder_id or ROOT, [folder_id or ROOT])

    def publish(self, session: UploadSession) -> PublishedFile:
        return PublishedFile(id=session.object_name, folder_id=session.folder, title=session.file_name)
