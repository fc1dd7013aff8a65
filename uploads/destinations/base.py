"""The interface between the app and a portal."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from django.utils.module_loading import import_string

from uploads import names
from uploads._internal import conf
from uploads.exceptions import EditUnsupported, FileNotFound, NotAccepted, RelativePathUnsupported, UploadError

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

    from uploads.models import UploadSession

logger = logging.getLogger(__name__)

ROOT = "@my"
"""The id of the only folder of a portal without folders."""
Id = int | str
"""An id of the portal: integers are numbers in JSON, other ids (UUIDs) are strings."""


def plain_id(value: object) -> Id:
    """Convert an id to its JSON type."""
    return value if isinstance(value, int) else str(value)


@dataclass(frozen=True)
class Folder:
    """A folder of the portal that the user may upload to."""

    id: Id
    path: Sequence[Id]
    """Ids from the root folder to this one, both included."""


@dataclass(frozen=True)
class EditableFile:
    """A file of the portal whose content the user may replace."""

    id: Id
    title: str
    folder: Folder
    version: int = 1


@dataclass(frozen=True)
class PublishedFile:
    """The portal's file, as the response to the last chunk reports it (protocol: 201)."""

    id: Id
    folder_id: Id
    title: str
    version: int = 1
    url: str = ""
    """Path or URL of the file for clients; empty if there is none."""
    details: dict[str, Any] = field(default_factory=dict)
    """Further fields for clients. URLs that start with ``/`` are made absolute."""


_caller: ContextVar[Any] = ContextVar("uploads_caller", default=None)


@contextmanager
def caller_scope() -> Iterator[None]:
    """Forget the request set by ``called_by`` when the block ends."""
    token = _caller.set(None)
    try:
        yield
    finally:
        _caller.reset(token)


def caller() -> Any:
    """Return the current REST framework request, or None."""
    return _caller.get()


def set_caller(request: Any) -> None:
    """Make the current request available to destinations."""
    _caller.set(request)


class Destination:
    """The portal from the perspective of an upload.

    An instance is created per use, with the options of the settings, and keeps no state.
    """

    alias = "default"
    """The key in ``UPLOADS["DESTINATIONS"]``."""

    def __init__(self, **options: Any) -> None:
        for name, value in options.items():
            if name.startswith("_") or not hasattr(type(self), name):
                message = f"{type(self).__qualname__} has no option {name}."
                raise TypeError(message)
            setattr(self, name, value)

    @property
    def request(self) -> Any:
        """The current REST framework request (``auth``, ``META`` …); None in a task or command."""
        return caller()

    def problems(self) -> Iterable[str]:
        """Return the problems with this destination's options for ``manage.py check``; do no I/O."""
        return ()

    def warnings(self) -> Iterable[str]:
        """Return doubts about the options for ``manage.py check``; asked only if there are no problems. Do no I/O."""
        return ()

    direct: bool | None = None
    """True if clients may send parts straight to the store; None means the setting ``DIRECT``."""

    checker = ""
    """Dotted path of a function ``(session, file)`` that ``check`` calls, such as ``uploads.contrib.clamd.check``."""

    databases: Collection[str] = ("default",)
    """Aliases of the databases that ``publish`` writes to.

    Each database other than the app's gets its own transaction."""

    def folder(self, user: AbstractBaseUser, folder_id: str) -> Folder:
        """Return the folder if ``user`` may upload to it; raise FolderNotFound or Forbidden.

        ``folder_id`` is empty if neither the URL nor the client names a folder.
        Runs at creation, outside any transaction. Raise FolderNotFound for a folder that the user may not see.
        """
        raise NotImplementedError

    def subfolder(self, user: AbstractBaseUser, folder: Folder, names: Sequence[str]) -> Folder:
        """Return the folder at the path ``names`` below ``folder``; create missing folders.

        Runs at creation for a relativePath; the names are already cleaned. Mark the folders created here, so that
        ``discard`` can remove them if no file ever arrives.
        """
        raise RelativePathUnsupported

    def file(self, user: AbstractBaseUser, file_id: str) -> EditableFile:
        """Return the file whose content ``user`` may replace; raise FileNotFound or Forbidden.

        Runs when an edit session is created. ``publish`` then finds the id in ``session.file_id``.
        """
        raise EditUnsupported

    def describe(self, user: AbstractBaseUser, file_id: str) -> dict[str, Any]:
        """Return the details of a file that ``user`` may see, as in ``PublishedFile.details``.

        Clients request them before or right after an upload. Raise FileNotFound for any other file.
        """
        raise FileNotFound

    def existing(self, user: AbstractBaseUser, folder: Folder, titles: Sequence[str]) -> Collection[str]:
        """Return the ``titles``, already cleaned, that files of the folder have.

        Clients warn before they replace these files.
        """
        return ()

    def accept(self, user: AbstractBaseUser, session: UploadSession) -> None:
        """Veto the upload by raising an error.

        Runs at creation, before any call to the store; then ``session`` is not saved yet and its ``storage`` may be
        changed. Runs again before ``publish``, because conditions may change while bytes are sent. It does not run for
        partial uploads of tus, but for the file that joins them.
        """

    def accept_abort(self, user: AbstractBaseUser, session: UploadSession) -> None:
        """Veto the client's wish to end an unfinished upload by raising an error, such as Forbidden.

        ``user`` is anonymous if only the session's URL authorizes the request (``LOCATION_AUTH``).
        """

    def free_space(self, user: AbstractBaseUser) -> int | None:
        """Return how many more bytes ``user`` may store, or None if there is no limit.

        Runs at creation. The app subtracts the declared sizes of the user's other unfinished sessions.
        """
        return None

    def object_name(self, session: UploadSession) -> str:
        """Return the object's name in the storage; it must be unique to the session.

        End it with ``session.storage_name``, which is unique and lets the audit recognize the app's objects.
        That name ends with the file's name, for programs that take title and type from a ``FileField``'s name.
        """
        return f"{self.prefix(session)}/{session.created_at:%Y/%m}/{session.storage_name}"

    def prefix(self, session: UploadSession) -> str:
        """Return the prefix of the session's object in its storage, such as one per tenant."""
        return conf.current().OBJECT_PREFIX

    @property
    def storages(self) -> Collection[str]:
        """Aliases of the storages that receive its files; system checks and the doctor examine them."""
        return {conf.current().STORAGE}

    def audit_prefixes(self) -> Iterable[tuple[str, str]]:
        """Return the storages (aliases) and prefixes that the audit examines.

        In an audit of one tenant, return only the prefixes of that tenant.
        """
        config = conf.current()
        return [(config.STORAGE, config.OBJECT_PREFIX)]

    @property
    def has_check(self) -> bool:
        """True if this destination checks files."""
        return bool(self.checker) or type(self).check is not Destination.check

    def is_checked(self, session: UploadSession) -> bool:
        """Return True if ``check`` must accept the file before it is published.

        Runs when all bytes are stored.
        """
        return self.has_check

    def check(self, session: UploadSession, file: BinaryIO) -> None:
        """Examine the whole file before it is published, with a virus scanner, parser or thumbnailer.

        Runs in Celery (or ``complete_uploads``), outside any transaction, perhaps more than once. ``file`` is readable
        and seekable; none of it is kept on disk. Return to accept the file. To reject it, raise FileRefused or
        FileUncheckable with a reason. CheckerUnavailable, or any other exception, postpones the check.
        """
        if self.checker:
            import_string(self.checker)(session, file)

    def publish(self, session: UploadSession) -> PublishedFile:
        """Create the portal's file from the finished object ``session.object_name`` and return it.

        Runs in the transaction that marks the session completed, in a request or in Celery. The object is
        final: assign its name to a FileField; nothing needs to be read or copied. An ``UploadError`` fails the
        session; after any other exception, publishing is retried later.

        If the portal's tables are in another database than the app's, this may run again after its commit:
        look first for a file that already has ``session.object_name``.
        """
        raise NotImplementedError

    def withdraw(self, session: UploadSession) -> None:
        """Handle a client that no longer wants its finished upload.

        The default leaves the file to the portal.
        """

    def in_use(self, names: Collection[str]) -> Collection[str]:
        """Return the object ``names`` that the portal's own rows refer to, in any storage.

        Runs in ``audit_uploads``, which deletes the other objects if no session owns them. The default returns all
        names, so that the audit never deletes an object that the portal still uses.
        """
        return names

    def discard(self, session: UploadSession) -> None:
        """Clean up after a session that ended without a file.

        Remove the folders of ``session.path`` that were created for uploads and are empty.
        May run more than once for a session.
        """


def generated_name(field: Any, row: Any, title: str, neutral: str) -> str:
    """Return the name that ``upload_to`` of a model field gives a file, in ``neutral`` if it raises.

    The row is not saved yet, so a function of the portal may miss its relations.
    """
    try:
        return str(field.generate_filename(row, title))
    except UploadError:
        raise
    except Exception as error:
        logger.warning("upload_to of %s failed for a new instance: %r", field, error)
        return posixpath.join(neutral, title)


def sign_object_name(session: UploadSession, wanted: str, longest: int) -> str:
    """Return the signed object name for ``wanted``; raise NotAccepted if it is too long.

    A function of the portal may have made ``wanted``, so its length is not known before.
    """
    name = names.fitting(wanted, session.name_signature, longest)
    if len(name) > longest:
        raise NotAccepted(reason=f"its object name needs {len(name)} characters, but the field allows only {longest}")
    return name
