"""A destination that makes rows of any model with a FileField, told which fields are which."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.files.storage import default_storage, storages
from django.db import models, router, transaction

from uploads import conf, names
from uploads.destinations.base import ROOT, Destination, EditableFile, Folder, PublishedFile, plain_id
from uploads.exceptions import FileNotFound, FolderNotFound, NotAccepted

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

    from uploads.models import UploadSession

TITLES = "title", "name"
"""Fields that are taken for the file's title, if none is named."""
FREE, REPLACE, KEEP = "free", "replace", "keep"


class ModelDestination(Destination):
    """Makes a row of ``model`` for each file. Options, or attributes of a subclass, say the rest.

    The object is called as ``upload_to`` of the field says, in the storage of the field, so that files lie where the
    portal's always lay. The model's own rules hold (``full_clean``): before bytes come, and then.
    """

    model: str | type[models.Model] = ""
    """``"app.Model"``. Required."""
    file_field: str = ""
    """Its FileField; needed if it has several."""
    title_field: str = ""
    """Where the file's name goes; ``title`` or ``name`` if the model has one."""
    owner_field: str = ""
    """The foreign key to the user; the only one if there is one."""
    folder_field: str = ""
    """The foreign key to the portal's folders, if it has some."""
    size_field: str = ""
    """Where the number of bytes goes."""
    content_type_field: str = ""
    """Where the content type goes."""
    permission: str = ""
    """A method of the manager that returns, for a user, what he may upload to: folders, or, where the model has none,
    the files that he may replace. By default those that are his by their foreign key to the user."""
    same_title: str = FREE
    """What becomes of a file whose title is there already: ``free``: it gets another one; ``replace``: it becomes the
    content of the one that is there; ``keep``: titles need not differ."""

    # What the portal has

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
        return self._told(self._find(user, file_id))

    def existing(self, user: AbstractBaseUser, folder: Folder, titles: Sequence[str]) -> Collection[str]:
        field = self._title_field
        if not field:
            return ()
        return set(self._beside(str(folder.id), user).filter(**{f"{field}__in": titles}).values_list(field, flat=True))

    def in_use(self, names: Collection[str]) -> Collection[str]:
        field = self._file_field.name
        return set(self._model._base_manager.filter(**{f"{field}__in": names}).values_list(field, flat=True))

    def places(self) -> Iterable[tuple[str, str]]:
        """Return the fixed beginning of ``upload_to``; none where it is a function, or has none."""
        to = self._file_field.upload_to
        parts = [] if callable(to) else str(to).strip("/").split("/")
        fixed = posixpath.join("", *_until(parts, "%"))
        return [(self._storage, fixed)] if fixed else []

    @property
    def databases(self) -> Collection[str]:  # type: ignore[override]
        return {router.db_for_write(self._model)}

    # The life of a session

    def accept(self, user: AbstractBaseUser, session: UploadSession) -> None:
        session.storage = self._storage
        self._clean(self._row_for(session), exclude={self._file_field.name})

    def object_name(self, session: UploadSession) -> str:
        field = self._file_field
        wanted = field.generate_filename(self._row_for(session), names.for_storage(session.file_name))
        return names.fitting(wanted, session.mark, field.max_length or conf.MAX_NAME)

    def publish(self, session: UploadSession) -> PublishedFile:
        file = self._model._base_manager.filter(**{self._file_field.name: session.object_name}).first()
        if file is None:  # else it was published before, and the answer to that COMMIT was lost
            folders = self._folders
            if folders is not None:  # Held: nobody else chooses a title in it meanwhile.
                folders._base_manager.select_for_update().filter(pk=session.folder_id).first()
            file = self._row_for(session)
            self._take_over(file, session)
        return PublishedFile(
            id=plain_id(file.pk),
            folder_id=session.folder,
            title=self._title_of(file),
            url=self._url_of(file),
            details=self._told(file),
        )

    def uploadable(self, user: AbstractBaseUser) -> models.QuerySet[Any]:
        """Return the folders that the user may upload to; where the model has none, the files that he may replace."""
        model = self._folders or self._model
        if self.permission:
            allowed: models.QuerySet[Any] = getattr(model._default_manager, self.permission)(user)
            return allowed
        owner = _user_field(model)
        if not owner or not isinstance(user, get_user_model()):
            return model._default_manager.none()
        return model._default_manager.filter(**{owner: user})

    def fill(self, file: Any, session: UploadSession) -> None:
        """Set more fields of the row. Runs before bytes come, for its name and its rules, and when they are there."""

    # How

    def _take_over(self, file: Any, session: UploadSession) -> None:
        field = self._file_field
        old = getattr(file, field.name)
        if old.name:
            name, storage = old.name, old.storage
            transaction.on_commit(lambda: storage.delete(name), using=router.db_for_write(self._model), robust=True)
        setattr(file, field.name, session.object_name)
        self._clean(file)
        file.save()

    def _row_for(self, session: UploadSession) -> Any:
        """Return the row that the session's file will be, not saved yet; or the one whose content it will be."""
        title_field, owner = self._title_field, session.owner
        beside = self._beside(session.folder_id, owner)
        file = None
        if session.file_id:
            file = self._model._base_manager.filter(pk=session.file_id).first()
            if file is None:
                raise FileNotFound
        elif title_field and self.same_title == REPLACE and not session.create_new:
            file = beside.filter(**{title_field: session.file_name}).first()
        if file is None:
            file = self._model()
            if title_field:
                free = self.same_title != KEEP or session.create_new
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

    def _free(self, beside: models.QuerySet[Any], title: str) -> str:
        field = self._title_field
        longest = self._column(field).max_length or names.MAX_LENGTH
        return next(name for name in names.variants(title, longest) if not beside.filter(**{field: name}).exists())

    def _beside(self, folder_id: str, owner: Any) -> models.QuerySet[Any]:
        """Return the files whose titles must not be the same: those of the folder, or of the owner."""
        files = self._model._base_manager.all()
        if self.folder_field:
            return files.filter(**{self._column(self.folder_field).attname: folder_id})
        if self._owner_field and owner is not None:
            return files.filter(**{f"{self._owner_field}_id": owner.pk})
        return files

    def _clean(self, file: Any, exclude: Collection[str] = ()) -> None:
        try:
            file.full_clean(exclude=set(exclude))
        except ValidationError as error:
            raise NotAccepted(reason=" ".join(error.messages)) from error

    def _find(self, user: AbstractBaseUser, file_id: str) -> Any:
        files = self.uploadable(user)
        if self._folders is not None:
            files = self._model._default_manager.filter(**{f"{self.folder_field}__in": files})
        try:
            file = files.filter(pk=file_id).first()
        except (ValueError, ValidationError):
            file = None
        if file is None:
            raise FileNotFound
        return file

    def _told(self, file: Any) -> dict[str, Any]:
        content = getattr(file, self._file_field.name)
        told = {"id": plain_id(file.pk), "title": self._title_of(file), "size": content.size if content else 0}
        url = self._url_of(file)
        return told | ({"viewUrl": url} if url else {})

    def _title_of(self, file: Any) -> str:
        field = self._title_field
        return str(getattr(file, field)) if field else posixpath.basename(getattr(file, self._file_field.name).name)

    def _url_of(self, file: Any) -> str:
        return str(file.get_absolute_url()) if hasattr(file, "get_absolute_url") else ""

    # What the options mean

    def _column(self, name: str) -> Any:
        return self._model._meta.get_field(name)

    @property
    def _model(self) -> type[models.Model]:
        return apps.get_model(self.model) if isinstance(self.model, str) else self.model

    @property
    def _folders(self) -> type[models.Model] | None:
        if not self.folder_field:
            return None
        related: Any = self._column(self.folder_field).related_model
        return related  # type: ignore[no-any-return]

    @property
    def _file_field(self) -> Any:
        fields = [field for field in self._model._meta.get_fields() if isinstance(field, models.FileField)]
        named = [field for field in fields if field.name == self.file_field] if self.file_field else fields
        if len(named) != 1:
            message = f"{self._model._meta.label} has {len(named)} fields for files: name one in file_field."
            raise ImproperlyConfigured(message)
        return named[0]

    @property
    def _title_field(self) -> str:
        if self.title_field:
            return self.title_field
        fields = {field.name for field in self._model._meta.get_fields()}
        return next((name for name in TITLES if name in fields), "")

    @property
    def _owner_field(self) -> str:
        return self.owner_field or _user_field(self._model)

    @property
    def _storage(self) -> str:
        """The alias of the storage that the field has."""
        storage = self._file_field.storage
        if storage is default_storage:
            return "default"
        for alias in storages.backends:
            if storages[alias] is storage:
                return alias
        message = f"The storage of {self._file_field} is none of STORAGES: give it an alias there."
        raise ImproperlyConfigured(message)

    def problems(self) -> Iterator[str]:
        """Say what is wrong with the options, without any I/O."""
        if not self.model:
            yield "it names no model"
            return
        try:
            file_field, folders = self._file_field, self._folders
            _ = self._storage
            for name in (self._title_field, self._owner_field, self.size_field, self.content_type_field):
                if name:
                    self._column(name)
        except Exception as error:  # of many kinds, and all of them speak for themselves
            yield str(error)
            return
        target = folders or self._model
        if self.permission and not hasattr(target._default_manager, self.permission):
            yield f"{target._meta.label} has no manager with a method {self.permission}"
        asked = type(self).uploadable is not ModelDestination.uploadable
        if folders is not None and not (asked or self.permission or _user_field(folders)):
            yield f"it does not say who may upload to a {folders._meta.label}: name a method in permission"
        if self.same_title not in (FREE, REPLACE, KEEP):
            yield f"same_title is {self.same_title!r}, which is none of {FREE}, {REPLACE}, {KEEP}"
        if (file_field.max_length or conf.MAX_NAME) < names.least_length(file_field.upload_to):
            yield f"{file_field} is too short for the names of objects: give it max_length=255"


def _user_field(model: type[models.Model]) -> str:
    """Return the name of the one foreign key to the user that a model has; empty if it has none or several."""
    user = get_user_model()
    found = [
        field.name
        for field in model._meta.get_fields()
        if isinstance(field, models.ForeignKey) and field.related_model is user
    ]
    return found[0] if len(found) == 1 else ""


def _until(parts: Iterable[str], sign: str) -> Iterator[str]:
    for part in parts:
        if sign in part:
            return
        yield part
