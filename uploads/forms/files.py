"""A file that is in the store already: a FileField adopts it by its name, and nothing is copied."""

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
from uploads.models import HeldFile

if TYPE_CHECKING:
    from uploads.models import UploadSession


GONE = _("This file was used already, or is no longer kept. Choose it again.")


class StoredFile(ImageFieldFile):
    """What ``cleaned_data`` has: a file to read, with the client's own name, size and type, and dimensions of images.

    Assign it to a model's FileField; saving the model takes it, once. Where no model does, call ``take``.
    """

    def __init__(self, session: UploadSession) -> None:
        # Without ``field``: by this Django's descriptor knows a file that it is to adopt as it is.
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
            # Not the storage's own file: that of S3 is read into memory, or to a disk, as a whole.
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
        """Take the file in the form's transaction; raise ValidationError if another form did, or its time is up.

        If the transaction is rolled back, it can be taken again. Raises TransactionManagementError outside one: if
        saving failed then, nobody would have the file.
        """
        if self._committed:
            return
        using = router.db_for_write(HeldFile)
        if not connections[using].in_atomic_block:
            message = "A file that came for a form is taken in a transaction: save in transaction.atomic()."
            raise TransactionManagementError(message)
        taken, _rows = HeldFile.objects.using(using).filter(session=self.session, given_up=False).delete()
        if not taken:
            raise ValidationError(GONE, "taken")
        self._committed = True

    def save(self, name: str, content: Any, save: bool = True) -> None:  # noqa: FBT001, FBT002 - Django's
        """Django's FileField calls this when its model is saved."""
        self.close()  # Django has opened it to hand it over.
        self.take()
        if save:
            self.instance.save()
