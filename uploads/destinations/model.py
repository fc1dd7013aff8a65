"""A destination that creates rows of any model with a FileField."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models, router, transaction

from uploads import names
from uploads._internal import conf
from uploads.destinations.base import ROOT, EditableFile, Folder, PublishedFile, plain_id
from uploads.exceptions import FileNotFound, FolderNotFound

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

    from uploads.models import UploadSession

from uploads.destinations.base import generated_name, sign_object_name
from uploads.destinations.model_options import KEEP, REPLACE, ModelOptions
from uploads.destinations.validation import refusing, require_extension, require_image

logger = logging.getLogger(__name__)


class ModelDestination(ModelOptions):
    """Create a row of ``model`` for each file.

    Options, or attributes of a subclass, name the model's fields. ``upload_to`` of the field names the object, in the
    storage of the field, so that files lie where the portal always stored them. The model's own rules
    (``full_clean``) are enforced before bytes arrive, and again when the file is published.
    """

    # Folders and files of the portal

    def folder(self, user: AbstractBaseUser, folder_id: str) -> Folder:
        if self._folders is None:
            return Folder(ROOT, [ROOT])
        try:
            folder = self.uploadable(user).filter(pk=folder_id).first()
        except (ValueError, ValidationError):
            folder = None
        if folder is None:
            raise FolderNotFound
        return Folder(plain_id(folder.pk), [plain_id(folder.pk)])

    def file(self, user: AbstractBaseUser, file_id: str) -> EditableFile:
        file = self._find(user, file_id)
        folder = plain_id(getattr(file, f"{self.folder_field}_id")) if self.folder_field else ROOT
        return EditableFile(plain_id(file.pk), self._title_of(file), Folder(folder, [folder]))

    def describe(self, user: AbstractBaseUser, file_id: str) -> dict[str, Any]:
        file = self._find(user, file_id)
        content = getattr(file, self.column.name)
        return self._describe(file, content.size if content else 0)

    def existing(self, user: AbstractBaseUser, folder: Folder, titles: Sequence[str]) -> Collection[str]:
        field = self._title_field
        if not field:
            return ()
        seen = self._beside(self._seen, str(folder.id), user)
        return set(seen.filter(**{f"{field}__in": titles}).values_list(field, flat=True))

    def in_use(self, names: Collection[str]) -> Collection[str]:
        field = self.column.name
        return set(self._all.filter(**{f"{field}__in": names}).values_list(field, flat=True))

    def audit_prefixes(self) -> Iterable[tuple[str, str]]:
        """Return the fixed prefix of ``upload_to``; nothing if it is a function or has none."""
        to = self.column.upload_to
        parts = [] if callable(to) else str(to).strip("/").split("/")
        fixed = posixpath.join("", *_until(parts, "%"))
        return [(self._storage, fixed)] if fixed else []

    @property
    def databases(self) -> Collection[str]:  # type: ignore[override]
        return {router.db_for_write(self._model)}

    @property
    def storages(self) -> Collection[str]:
        return {self._storage}

    # Lifecycle of a session

    def accept(self, user: AbstractBaseUser, session: UploadSession) -> None:
        session.storage = self._storage
        with refusing():
            require_extension(self.column, session.file_name)
        self._clean_early(self._row_for(session), session)

    def object_name(self, session: UploadSession) -> str:
        field = self.column
        title, neutral = names.for_storage(session.file_name), conf.current().OBJECT_PREFIX
        wanted = generated_name(field, self._row_for(session), title, neutral)
        return sign_object_name(session, wanted, field.max_length or conf.MAX_NAME)

    def publish(self, session: UploadSession) -> PublishedFile:
        file = self._all.filter(**{self.column.name: session.object_name}).first()
        if file is None:  # Otherwise it was published before, and the result of that COMMIT was lost.
            folders = self._folders
            if folders is not None:  # Locked, so that no other upload chooses the same title.
                folders._base_manager.select_for_update().filter(pk=session.folder_id).first()
            file = self._row_for(session)
            with refusing():
                require_image(self.column, session)
                self._take_over(file, session)
        return PublishedFile(
            id=plain_id(file.pk),
            folder_id=session.folder,
            title=self._title_of(file),
            url=self._url_of(file),
            details=self._describe(file, session.file_size),
        )

    def _take_over(self, file: Any, session: UploadSession) -> None:
        field = self.column
        old = getattr(file, field.name)
        if old.name:
            name, storage = old.name, old.storage
            transaction.on_commit(lambda: storage.delete(name), using=router.db_for_write(self._model), robust=True)
        setattr(file, field.name, session.object_name)
        file.full_clean()
        file.save()

    def _row_for(self, session: UploadSession) -> Any:
        """Return an unsaved row for the session's file, or the row whose content it replaces."""
        title_field, owner = self._title_field, session.owner
        file = None
        one_each = self._owner_field and owner is not None and self._column(self._owner_field).unique
        if session.file_id:
            file = self._all.filter(pk=session.file_id).first()
            if file is None:
                raise FileNotFound
        elif one_each:
            file = self._all.filter(**{self._owner_field: owner}).first()
            if file is not None and title_field:
                setattr(file, title_field, session.file_name)
        elif title_field and self.same_title == REPLACE and not session.create_new:
            seen = self._beside(self._seen, session.folder_id, owner)
            file = seen.filter(**{title_field: session.file_name}).first()
        if file is None:
            file = self._model()
            if title_field:
                free = self.same_title != KEEP or session.create_new
                rows = [self._seen, *(self._all.filter(condition) for condition in self._unique_among)]
                beside = [self._beside(some, session.folder_id, owner) for some in rows]
                setattr(file, title_field, self._free(beside, session.file_name) if free else session.file_name)
            if self.folder_field:
                setattr(file, self._column(self.folder_field).attname, session.folder_id)
            if self._owner_field and owner is not None:
                setattr(file, self._owner_field, owner)
        if self.size_field:
            setattr(file, self.size_field, session.file_size)
        if self.content_type_field:
            setattr(file, self.content_type_field, session.content_type)
        self.fill(file, session)
        return file

    def _free(self, beside: Iterable[models.QuerySet[Any]], title: str) -> str:
        field = self._title_field
        longest = self._column(field).max_length or names.MAX_LENGTH

        def is_free(name: str) -> bool:
            return not any(rows.filter(**{field: name}).exists() for rows in beside)

        return next(filter(is_free, names.variants(title, longest)))

    @property
    def _seen(self) -> models.QuerySet[Any]:
        """The rows that the portal shows; hidden ones, such as deleted files, cannot be replaced."""
        return self._model._default_manager.using(router.db_for_write(self._model))

    @property
    def _all(self) -> models.QuerySet[Any]:
        return self._model._base_manager.using(router.db_for_write(self._model))

    def _beside(self, files: models.QuerySet[Any], folder_id: str, owner: Any) -> models.QuerySet[Any]:
        """Return the files of the folder, or of the owner, whose titles must differ."""
        if self.folder_field:
            return files.filter(**{self._column(self.folder_field).attname: folder_id})
        if self._owner_field and owner is not None:
            return files.filter(**{f"{self._owner_field}_id": owner.pk})
        return files

    def _clean_early(self, file: Any, session: UploadSession) -> None:
        """Enforce the model's rules except those of the file field, which has only a name."""
        field = self.column
        if not getattr(file, field.name):
            file.__dict__[field.attname] = session.file_name
        exclude = {field.name, getattr(field, "width_field", None), getattr(field, "height_field", None)} - {None}
        with refusing():
            file.clean_fields(exclude=exclude)
            try:
                file.clean()
            except ValidationError:
                raise
            except Exception as error:
                logger.debug(
                    "%s.clean() failed before bytes arrived and runs again later: %r", self._model._meta.label, error
                )
            file.validate_unique(exclude=exclude)
            file.validate_constraints(exclude=exclude)

    def _find(self, user: AbstractBaseUser, file_id: str) -> Any:
        files = self.uploadable(user)
        if self._folders is not None:
            files = self._seen.filter(**{f"{self.folder_field}__in": files})
        try:
            file = files.filter(pk=file_id).first()
        except (ValueError, ValidationError):
            file = None
        if file is None:
            raise FileNotFound
        return file

    def _describe(self, file: Any, size: int) -> dict[str, Any]:
        details = {"id": plain_id(file.pk), "title": self._title_of(file), "size": size}
        url = self._url_of(file)
        return details | ({"viewUrl": url} if url else {})

    def _title_of(self, file: Any) -> str:
        field = self._title_field
        return str(getattr(file, field)) if field else posixpath.basename(getattr(file, self.column.name).name)

    def _url_of(self, file: Any) -> str:
        return str(file.get_absolute_url()) if hasattr(file, "get_absolute_url") else ""


def _until(parts: Iterable[str], sign: str) -> Iterator[str]:
    for part in parts:
        if sign in part:
            return
        yield part
