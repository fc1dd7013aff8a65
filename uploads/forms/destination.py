"""The destination of files that wait until a form takes them.

Their objects already lie where the form's model expects them.
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import DatabaseError, models, router
from django.db.models import Sum
from django.utils import timezone

from uploads import names
from uploads._internal import sessions
from uploads._internal.conf import DEFAULT_ALIAS, PARTIAL
from uploads.destinations.base import Destination, Folder, PublishedFile, generated_name, sign_object_name
from uploads.destinations.registry import FORMS, aliases, get_destination
from uploads.forms.routes import form_routes
from uploads.forms.tokens import limits_of, token
from uploads.models import PendingFile, UploadSession

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

logger = logging.getLogger(__name__)

PLACE = "@forms"
PREFIX = "form-uploads"
"""Default prefix for fields without ``upload_to``, or whose function raises.

No destination uses it, so no audit examines it."""


class FormDestination(Destination):
    """Keep finished files for ``FORM_LIFETIME``; the signed ticket holds the limits of the field."""

    def folder(self, user: AbstractBaseUser, folder_id: str) -> Folder:
        return Folder(PLACE, [PLACE])

    def accept(self, user: AbstractBaseUser, session: UploadSession) -> None:
        limits = limits_of(session, fresh=session._state.adding)
        session.storage = limits.storage
        limits.check(session)

    def free_space(self, user: AbstractBaseUser) -> int | None:
        """Return the default destination's free space, minus pending files and unfinished uploads to it."""
        free = get_destination().free_space(user) if DEFAULT_ALIAS in aliases() else None
        if free is None:
            return None
        mine = UploadSession.objects.of(user)
        unfinished = mine.unfinished().filter(destination__in=[DEFAULT_ALIAS, DEFAULT_ALIAS + PARTIAL])
        taken = mine.filter(pending_file__isnull=False) | unfinished
        return free - (taken.aggregate(size=Sum("file_size"))["size"] or 0)

    def object_name(self, session: UploadSession) -> str:
        limits = limits_of(session)
        title = names.for_storage(session.file_name)
        if limits.model_field:
            field = _field(limits.model_field)
            wanted = generated_name(field, field.model(), title, PREFIX)
        else:
            now: datetime = timezone.localtime() if timezone.is_aware(timezone.now()) else timezone.now()
            wanted = posixpath.join(now.strftime(limits.upload_to or PREFIX), title)
        return sign_object_name(session, wanted, limits.longest)

    def publish(self, session: UploadSession) -> PublishedFile:
        PendingFile.objects.get_or_create(session=session)
        details = {"token": token(session)}
        return PublishedFile(id=session.pk.hex, folder_id=PLACE, title=session.file_name, details=details)

    def withdraw(self, session: UploadSession) -> None:
        sessions.delete_waiting(session)

    def audit_prefixes(self) -> Iterable[tuple[str, str]]:
        return ()  # The objects lie among the portal's own files, which the audit must not examine.

    def in_use(self, names: Collection[str]) -> Collection[str]:
        """Return the names that are in a FileField of the portal."""
        if not names or not (form_routes() or UploadSession.objects.filter(destination=FORMS).exists()):
            return ()  # No form ever received a file.
        found: set[str] = set()
        for field in file_fields():
            rows = field.model._base_manager.using(router.db_for_write(field.model))
            try:
                found |= set(rows.filter(**{f"{field.name}__in": names}).values_list(field.name, flat=True))
            except DatabaseError as error:
                logger.warning("Cannot query the files of %s; treat all names as in use: %s", field, error)
                return names
        return found


def _field(path: str) -> Any:
    label, _, name = path.rpartition(".")
    return apps.get_model(label)._meta.get_field(name)


def file_fields() -> Iterator[Any]:
    """Yield the file fields of all models."""
    for model in apps.get_models():
        for field in model._meta.local_fields:
            if isinstance(field, models.FileField):
                yield field
