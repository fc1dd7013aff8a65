"""What a portal tells the app about itself, and what it is told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from django.utils.module_loading import import_string

from uploads import names
from uploads._internal import conf
from uploads.exceptions import EditUnsupported, FileNotFound, NotAccepted, RelativePathUnsupported

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

    from uploads.models import UploadSession

ROOT = "@my"
"""What the one place for files is called where a portal has no folders."""
Id = int | str
"""An id of the portal. Integers are integers in JSON, anything else (a UUID) is a string."""


def plain_id(value: object) -> Id:
    """Return an id as JSON has it."""
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
    """The portal's file, as the answer to the last chunk tells it (protocol: 201)."""

    id: Id
    folder_id: Id
    title: str
    version: int = 1
    url: str = ""
    """Where clients find it, a path or a URL; empty if nowhere."""
    details: dict[str, Any] = field(default_factory=dict)
    """What else clients are told of it. URLs that start with ``/`` are made absolute for them."""


_caller: ContextVar[Any] = ContextVar("uploads_caller", default=None)


@contextmanager
def answering() -> Iterator[None]:
    """Forget afterwards whose request it was that ``called_by`` told."""
    token = _caller.set(None)
    try:
        yield
    finally:
        _caller.reset(token)


def caller() -> Any:
    """Return REST framework's request that is being answered, or None."""
    return _caller.get()


def called_by(request: Any) -> None:
    """Let destinations see the request that is being answered."""
    _caller.set(request)


class Destination:
    """The portal, seen from an upload. Instances are made per use, with the settings' options, and keep no state."""

    alias = "default"
    """The name in ``UPLOADS["DESTINATIONS"]``."""

    def __init__(self, **options: Any) -> None:
        for name, value in options.items():
            if name.startswith("_") or not hasattr(type(self), name):
                message = f"{type(self).__qualname__} has no option {name}."
                raise TypeError(message)
            setattr(self, name, value)

    @property
    def request(self) -> Any:
        """REST framework's request that is being answered (``auth``, ``META`` …); None in a task or command."""
        return caller()

    def problems(self) -> Iterable[str]:
        """Say what is wrong with this destination's options; ``manage.py check`` asks. No I/O."""
        return ()

    checker = ""
    """Dotted path of a function ``(session, file)`` that ``check`` calls, ``uploads.contrib.clamd.check`` say."""

    databases: Collection[str] = ("default",)
    """Aliases of the databases that ``publish`` writes to; those beside the app's get transactions of their own."""

    def folder(self, user: AbstractBaseUser, folder_id: str) -> Folder:
        """Return the folder if ``user`` may upload to it; raise FolderNotFound or Forbidden.

        ``folder_id`` is empty where neither URL nor client names one.
        Runs at creation, outside any transaction. Raise FolderNotFound for a folder the user may not see.
        """
        raise NotImplementedError

    def subfolder(self, user: AbstractBaseUser, folder: Folder, names: Sequence[str]) -> Folder:
        """Return the folder that ``names`` lead to below ``folder``, making what is missing.

        Runs at creation for a relativePath; the names are cleaned. Mark what is made here, so that ``discard``
        can remove it if no file ever comes.
        """
        raise RelativePathUnsupported

    def file(self, user: AbstractBaseUser, file_id: str) -> EditableFile:
        """Return the file whose content ``user`` may replace; raise FileNotFound or Forbidden.

        Runs when an edit session is created. ``publish`` then finds the id in ``session.file_id``.
        """
        raise EditUnsupported

    def describe(self, user: AbstractBaseUser, file_id: str) -> dict[str, Any]:
        """Return what clients are told of a file that ``user`` may see, as ``PublishedFile.details`` has it.

        Clients ask for it before or right after an upload. Raise FileNotFound for any other file.
        """
        raise FileNotFound

    def existing(self, user: AbstractBaseUser, folder: Folder, titles: Sequence[str]) -> Collection[str]:
        """Return those of the cleaned ``titles`` that files of the folder have; clients warn before replacing them."""
        return ()

    def accept(self, user: AbstractBaseUser, session: UploadSession) -> None:
        """Veto the upload by raising.

        Runs at creation, before the store is asked for anything, when ``session`` is not saved yet and its
        ``storage`` may be changed; and again before ``publish``, because the world changes while bytes are sent.
        """

    def free_space(self, user: AbstractBaseUser) -> int | None:
        """Return how many bytes the files of ``user`` may still grow, or None if there is no limit.

        Runs at creation. The app takes the declared sizes of the user's other unfinished sessions off.
        """
        return None

    def object_name(self, session: UploadSession) -> str:
        """Return the name under which the storage keeps the file; it must be unique to the session.

        Let it end with ``session.storage_name``: that is unique, is what the audit knows our names by, and has the
        file's name at the end, for programs that take title and type from the name of a ``FileField``.
        """
        return f"{self.prefix(session)}/{session.created_at:%Y/%m}/{session.storage_name}"

    def prefix(self, session: UploadSession) -> str:
        """Return where in its storage the object of the session goes: a tenant's own place, say."""
        return conf.current().OBJECT_PREFIX

    @property
    def storages(self) -> Collection[str]:
        """The aliases of the storages that its files go to: the system checks and the doctor look at them."""
        return {conf.current().STORAGE}

    def audit_prefixes(self) -> Iterable[tuple[str, str]]:
        """Return the storages (aliases) and prefixes that the audit looks at; those of one tenant, if it is for one."""
        config = conf.current()
        return [(config.STORAGE, config.OBJECT_PREFIX)]

    @property
    def has_check(self) -> bool:
        """Whether files are checked at all."""
        return bool(self.checker) or type(self).check is not Destination.check

    def is_checked(self, session: UploadSession) -> bool:
        """Tell whether the file goes through ``check`` before it is published; asked when all of it is stored."""
        return self.has_check

    def check(self, session: UploadSession, file: BinaryIO) -> None:
        """Look at the whole file before anybody else does: a virus scanner, a parser, a thumbnailer.

        Runs in Celery (or ``complete_uploads``), outside any transaction, perhaps more than once. ``file`` can be
        read and sought; nothing of it is kept on disk. Returning means that the file is fine. Raise FileRefused or
        FileUncheckable with a reason, or CheckerUnavailable; any other exception counts as the last.
        """
        if self.checker:
            import_string(self.checker)(session, file)

    def publish(self, session: UploadSession) -> PublishedFile:
        """Make the portal's file of the finished object ``session.object_name`` and return it.

        Runs in the transaction that marks the session completed, in a request or in Celery. The object is
        final: assign its name to a FileField, nothing needs to be read or copied. Raising an
        ``UploadError`` fails the session; any other exception is tried again later.

        If the portal's tables are in another database than the app's, this may run again after it was committed:
        look for a file that has ``session.object_name`` already.
        """
        raise NotImplementedError

    def withdraw(self, session: UploadSession) -> None:
        """Take note that the client no longer wants its finished upload. The default leaves the file to the portal."""

    def in_use(self, names: Collection[str]) -> Collection[str]:
        """Return those of the object ``names`` that the portal's own rows refer to, in whatever storage.

        Runs in ``audit_uploads``, which deletes the others of them if no session owns them. The default claims all,
        so that nothing is ever deleted that a portal did not give up.
        """
        return names

    def discard(self, session: UploadSession) -> None:
        """Clean up after a session that ended without a file.

        Remove the folders of ``session.path`` that were made for uploads and that nothing is in.
        May run more than once for a session.
        """


def sign_object_name(session: UploadSession, wanted: str, longest: int) -> str:
    """Return the object's name for a file that would be called ``wanted``; raise NotAccepted if it is too long.

    A portal's function may have made it, so nobody knows its length before.
    """
    name = names.fitting(wanted, session.name_signature, longest)
    if len(name) > longest:
        raise NotAccepted(reason=f"its name in the store needs {len(name)} characters, the field has {longest}")
    return name
