"""A file already in the store; a FileField adopts its name without copying bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.core.files.storage import storages
from django.db import connections, router
from django.db.models.fields.files import ImageFieldFile
from django.db.transaction import TransactionManagementError
from django.utils.translation import gettext_lazy as _

from uploads._internal.stores import get_store
from uploads._internal.stores.reader import open_object
from uploads.models import PendingFile

if TYPE_CHECKING:
    from uploads.models import UploadSession


GONE = _("This file has already been used or has expired. Choose it again.")


class StoredFile(ImageFieldFile):
    """A readable file in ``cleaned_data``, already in the store.

    It has the client's name, size and type of the file, and the dimensions of an image. Assign it to a model's
    FileField; saving the model takes it, once. If no model is saved, call ``take``.
    """

    def __init__(self, session: UploadSession) -> None:
        # No ``field`` attribute: this tells Django's descriptor to adopt the file unchanged.
        self.session = session
        self.storage = storages[session.storage]
        self.name = session.object_name
        self.mode = "rb"
        self._committed = False
        self._stored: Any = None
        self.original_name: str = session.file_name
        self.content_type: str = session.content_type

    @property
    def size(self) -> int:
        return self.session.file_size

    @property
    def file(self) -> Any:
        if self._stored is None or self._stored.closed:
            # The storage's own file would load a whole S3 object into memory or onto a disk.
            store = get_store(self.session.storage)
            self._stored = open_object(store, self.session.object_name, self.session.file_size)
        return self._stored

    @file.setter
    def file(self, file: Any) -> None:
        self._stored = file

    def open(self, mode: str = "rb") -> StoredFile:  # type: ignore[override]
        self.file.seek(0)
        return self

    def close(self) -> None:
        if self._stored is not None:
            self._stored.close()

    @property
    def closed(self) -> bool:
        return self._stored is None or self._stored.closed

    def take(self) -> None:
        """Take the file in the form's transaction; raise ValidationError if it was taken or expired.

        After a rollback, the file can be taken again. Outside a transaction, raise TransactionManagementError:
        a failed save would lose the file.
        """
        if self._committed:
            return
        using = router.db_for_write(PendingFile)
        if not connections[using].in_atomic_block:
            message = "Files of upload fields are taken in a transaction: save the form in transaction.atomic()."
            raise TransactionManagementError(message)
        if not PendingFile.take(PendingFile.objects.using(using).filter(session=self.session)):
            raise ValidationError(GONE, "taken")
        self._committed = True

    def save(self, name: str, content: Any, save: bool = True) -> None:  # noqa: FBT001, FBT002 - Django's
        """Take the file; Django's FileField calls this when its model is saved."""
        self.close()  # Django opened the file to pass it as content.
        self.take()
        if save:
            self.instance.save()
