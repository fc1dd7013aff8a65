"""The options of ``ModelDestination``, which name fields of a model, and their validation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import models, router

from uploads import names
from uploads._internal import conf
from uploads._internal.stores import alias_of
from uploads.destinations.base import Destination

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

    from uploads.models import UploadSession


TITLES = "title", "name"
"""Fields used for the file's title if ``title_field`` names none."""
FREE, REPLACE, KEEP = "free", "replace", "keep"


class ModelOptions(Destination):
    """A destination whose options name the fields of a model."""

    model: str | type[models.Model] = ""
    """``"app.Model"``. Required."""
    file_field: str = ""
    """The model's FileField; required if it has several."""
    title_field: str = ""
    """The field for the file's name; by default ``title`` or ``name``, if present."""
    owner_field: str = ""
    """The foreign key to the user; by default the only one of the model."""
    folder_field: str = ""
    """The foreign key to the portal's folders, if there are any."""
    size_field: str = ""
    """The field for the size in bytes."""
    content_type_field: str = ""
    """The field for the content type."""
    permission: str = ""
    """A method of the manager that returns the folders that a user may upload to.

    If the model has no folders, it returns the files that the user may replace. By default, these are the rows
    whose foreign key refers to the user."""
    same_title: str = FREE
    """Handling of a file whose title already exists.

    ``free`` gives it another title; ``replace`` makes it the content of the existing file; ``keep`` allows equal
    titles."""

    def uploadable(self, user: AbstractBaseUser) -> models.QuerySet[Any]:
        """Return the folders that the user may upload to, or the files to replace.

        The latter applies to a model without folders.
        """
        model = self._folders or self._model
        rows = model._default_manager.db_manager(router.db_for_write(model))  # A replica may lag behind.
        if self.permission:
            allowed: models.QuerySet[Any] = getattr(rows, self.permission)(user)
            return allowed
        owner = _user_field(model)
        if not owner or not isinstance(user, get_user_model()):
            return rows.none()
        return rows.filter(**{owner: user})

    def fill(self, file: Any, session: UploadSession) -> None:
        """Set more fields of the row.

        Runs before bytes arrive, to name the object and to enforce the model's rules, and again at publication.
        """

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
    def column(self) -> Any:
        """The model's FileField."""
        fields = [field for field in self._model._meta.get_fields() if isinstance(field, models.FileField)]
        named = [field for field in fields if field.name == self.file_field] if self.file_field else fields
        if len(named) != 1:
            message = f"{self._model._meta.label} has {len(named)} matching FileFields, not one: name it in file_field."
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
    def _unique_among(self) -> list[models.Q]:
        """The rows, one condition each, among which the database demands different titles; the portal may hide them."""
        meta, title = self._model._meta, self._title_field
        constraints = [item for item in meta.constraints if isinstance(item, models.UniqueConstraint)]
        found = [item.condition or models.Q() for item in constraints if title in item.fields]
        alone = self._column(title).unique or any(title in fields for fields in meta.unique_together)
        return [*found, models.Q()] if alone else found

    @property
    def _storage(self) -> str:
        """The alias of the field's storage."""
        return alias_of(self.column)

    def problems(self) -> Iterator[str]:
        """Return the problems with the options, without any I/O."""
        if not self.model:
            yield "the option model is missing"
            return
        try:
            file_field, folders = self.column, self._folders
            _ = self._storage
            for name in (self._title_field, self._owner_field, self.size_field, self.content_type_field):
                if name:
                    self._column(name)
        except Exception as error:  # Many types are possible; their messages name the problem.
            yield str(error)
            return
        target = folders or self._model
        if self.permission and not hasattr(target._default_manager, self.permission):
            yield f"the manager of {target._meta.label} has no method {self.permission}, which permission names"
        asked = type(self).uploadable is not ModelOptions.uploadable
        if folders is not None and not (asked or self.permission or _user_field(folders)):
            yield f"no user may upload to {folders._meta.label} yet: name a method in permission"
        users = _user_fields(self._model)
        if len(users) > 1 and not self.owner_field and type(self).fill is ModelOptions.fill:
            yield f"it has several foreign keys to the user, {', '.join(users)}: name the owner's in owner_field"
        if self.same_title not in (FREE, REPLACE, KEEP):
            yield f"same_title is {self.same_title!r}, but must be {FREE}, {REPLACE} or {KEEP}"
        if (file_field.max_length or conf.MAX_NAME) < names.least_length(file_field.upload_to):
            yield f"{file_field} is too short for object names: set max_length=255"

    def warnings(self) -> Iterator[str]:
        """Return the required fields that no option fills; no file is accepted unless the model fills them."""
        if type(self).fill is not ModelOptions.fill:
            return
        file, users = self.column, _user_fields(self._model)
        names = "file", "title", "owner", "folder", "size", "content_type"
        known = {file.name, self._title_field, *(getattr(self, f"{name}_field") for name in names), *users}
        known |= {getattr(file, "width_field", None), getattr(file, "height_field", None)}
        for field in self._model._meta.concrete_fields:
            filled = field.has_default() or field.db_default is not models.NOT_PROVIDED or field.generated
            optional = field.blank or field.null or not field.editable
            parent = isinstance(field, models.OneToOneField) and field.remote_field.parent_link
            if not (filled or optional or parent or field.name in known):
                yield f"{field} gets no value"


def _user_field(model: type[models.Model]) -> str:
    """Return the name of the model's only foreign key to the user; empty if not unique."""
    found = _user_fields(model)
    return found[0] if len(found) == 1 else ""


def _user_fields(model: type[models.Model]) -> list[str]:
    user = get_user_model()
    fields = model._meta.get_fields()
    return [field.name for field in fields if isinstance(field, models.ForeignKey) and field.related_model is user]
