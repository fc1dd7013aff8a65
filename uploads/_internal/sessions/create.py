"""Create a session."""

from __future__ import annotations

import logging
import mimetypes
import posixpath
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import Error, IntegrityError
from django.utils import timezone

from uploads import names, signals
from uploads._internal import conf, owners
from uploads._internal.conf import DEFAULT_ALIAS, PARTIAL
from uploads._internal.sessions.end import abort
from uploads._internal.sessions.limits import check_file, check_user, is_limited, max_size_for, save_within_limits
from uploads._internal.sessions.rules import ANY, Rules
from uploads._internal.sessions.states import announce
from uploads._internal.stores import get_store
from uploads._internal.stores.names import sign_name
from uploads._internal.transfer.lease import fresh_expiry
from uploads._internal.transfer.transactions import certainly_failed, outside_transaction, reconnect
from uploads._internal.transfer.writer import FRAMING
from uploads.destinations import Destination, Folder, destination_of, get_destination, plain_id
from uploads.destinations.base import caller
from uploads.exceptions import EncryptionUnsupported, MetadataTooLarge, UploadError
from uploads.models import NamingKey, UploadSession

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

logger = logging.getLogger(__name__)

JOINING_TIME = timedelta(minutes=5)
"""Lifetime of a session until it has taken its partial uploads, which is a moment later."""
MAX_METADATA = 8 * 2**10
"""Maximum bytes of the names and values that a client declares besides name and size."""


@dataclass(frozen=True)
class FileRequest:
    """Description of the file that a client is going to send."""

    name: str
    size: int | None
    """In bytes; None if it is not known yet."""
    at_most: int | None = None
    """Upper bound of the size in bytes, if only that is known."""
    relative_path: str = ""
    content_type: str = ""
    """Empty if the client does not declare it; it is guessed from the name then."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Further declarations of the client, for the portal to use."""
    created_at: datetime | None = None
    encrypted: bool = False
    create_new: bool = False
    rules: Rules = ANY
    """Rules of the protocol that opens the session."""
    longest_title: int = names.MAX_LENGTH
    """Maximum number of characters of a title; longer titles are cut."""
    destination: str = DEFAULT_ALIAS
    """Alias of the destination that gets the file."""
    is_partial: bool = False
    """True if the bytes become part of a file (tus, concatenation)."""
    partials: Sequence[UUID] = ()
    """The ids of the partial uploads that make up the file, in their order."""
    id: UUID = field(default_factory=uuid4)
    """The id of the session."""


@outside_transaction
def create(user: AbstractBaseUser, folder_id: str, file: FileRequest) -> UploadSession:
    """Open a session of ``user`` for ``file`` in a folder of the portal.

    The upload in the store begins later.

    Raises the errors of the destination, InvalidName, FileTooLarge, ExtensionNotAllowed, TooManySessions,
    QuotaExceeded, EncryptionUnsupported or StoreUnavailable. Nothing remains of the session then.
    """
    _check_metadata(file.metadata)
    destination = get_destination(file.destination + PARTIAL if file.is_partial else file.destination)
    title, subfolders = (
        names.clean(file.name, file.longest_title),
        names.split_path(file.relative_path, file.longest_title),
    )
    folder = destination.folder(user, folder_id)
    if subfolders:
        folder = destination.subfolder(user, folder, subfolders)
    session = _open(user, _new_session(user, destination, folder, title, file))
    if subfolders:
        _confirm_folder(user, session)
    return session


@outside_transaction
def create_edit(
    user: AbstractBaseUser,
    file_id: str,
    size: int | None,
    *,
    at_most: int | None = None,
    rules: Rules = ANY,
    alias: str = DEFAULT_ALIAS,
) -> UploadSession:
    """Open a session of ``user`` for new content of a file of the portal.

    The session stores the file's present version. ``size`` and ``at_most`` are those of ``FileRequest``. Raises the
    errors of ``create``.
    """
    destination = get_destination(alias)
    file = destination.file(user, file_id)
    request = FileRequest(name=file.title, size=size, at_most=at_most, rules=rules)
    session = _new_session(user, destination, file.folder, file.title, request)
    session.file_id, session.file_version = str(file.id), file.version
    return _open(user, session)


def _check_metadata(metadata: Mapping[str, str]) -> None:
    size = sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())
    if size > MAX_METADATA:
        raise MetadataTooLarge(size=size, maximum=MAX_METADATA)


def _open(user: AbstractBaseUser, session: UploadSession) -> UploadSession:
    destination = destination_of(session)
    try:
        check_file(session)
        limited = is_limited(user, destination)
        if limited:
            check_user(user, session)
        destination.accept(user, session)
        if session.encrypted and not get_store(session.storage).encrypts:
            raise EncryptionUnsupported
        _name(session)
        _save(user, session, limited=limited)
    except _Unclear as error:
        raise error.cause from None
    except BaseException:
        destination.discard(session)
        raise
    logger.info("session %s: created for %d bytes", session.label, session.file_size)
    announce(signals.session_created, session)
    return session


def _confirm_folder(user: AbstractBaseUser, session: UploadSession) -> None:
    """Abort the session if its folder was removed as empty before the session claimed it.

    Raises the destination's error then.
    """
    try:
        destination_of(session).folder(user, session.folder_id)
    except UploadError:
        abort(session)
        raise


def _client() -> dict[str, str]:
    """Return the client's address and user agent.

    Empty outside a request, or if ``KEEP_CLIENTS`` is off.
    """
    request = caller()
    if request is None or not conf.current().KEEP_CLIENTS:
        return {}
    name = request.META.get("HTTP_USER_AGENT", "").encode("latin-1", "replace").decode(errors="replace")
    return {
        "address": request.META.get("REMOTE_ADDR", "")[:45],
        "name": name.replace("\0", "")[:255],
    }


def _new_session(
    user: AbstractBaseUser, destination: Destination, folder: Folder, title: str, file: FileRequest
) -> UploadSession:
    config = conf.current()
    now = timezone.now()
    size = max_size_for(user, destination, file.at_most, FRAMING) if file.size is None else file.size
    return UploadSession(
        id=file.id,
        owner_key=owners.key_of(user),
        destination=destination.alias,
        folder_id=str(folder.id),
        path=[plain_id(pk) for pk in folder.path],
        file_name=title,
        file_size=size,
        size_known=file.size is not None,
        content_type=file.content_type or mimetypes.guess_type(title)[0] or "application/octet-stream",
        declared=_declared(file),
        encrypted=file.encrypted,
        create_new=file.create_new,
        storage=config.STORAGE,
        created_at=now,
        updated_at=now,
        expires_at=now + JOINING_TIME if file.partials else fresh_expiry(),
        client=_client(),
    )


def _declared(file: FileRequest) -> dict[str, Any]:
    """Return the client's further declarations, in their order.

    Times are aware or naive, as the portal's own dates are.
    """
    declared: dict[str, Any] = {"metadata": [[name, value] for name, value in file.metadata.items()]}
    if file.partials:
        declared["partials"] = [pk.hex for pk in file.partials]
    with suppress(OverflowError):  # before year 1 or after 9999
        if moment := file.created_at:
            declared["created_at"] = (moment if settings.USE_TZ else timezone.make_naive(moment)).isoformat()
    return declared


def _name(session: UploadSession) -> None:
    key, last = NamingKey.current(), names.for_storage(session.file_name)
    session.name_signature = sign_name(session.id, last, key)
    name = posixpath.normpath(destination_of(session).object_name(session))
    if posixpath.basename(name) != last:  # The signature covers the last component of the name.
        mark = sign_name(session.id, posixpath.basename(name), key)
        name, session.name_signature = name.replace(session.name_signature, mark), mark
    session.name_object(name)


class _Unclear(Exception):
    """The row may exist or not, so nothing that it would name may be deleted."""

    def __init__(self, cause: Error) -> None:
        super().__init__()
        self.cause = cause


def _save(user: AbstractBaseUser, session: UploadSession, *, limited: bool) -> None:
    """Save the new session; try again if the database's answer is lost.

    The second attempt shows whether the first took effect.
    """
    clear = True
    for attempt in (1, 2):
        try:
            if limited:
                save_within_limits(user, session)
            else:
                session.save(force_insert=True)
        except IntegrityError:
            if attempt == 1:
                raise
            session.refresh_from_db()  # The first attempt took effect: no other session has this id.
            return
        except Error as error:
            clear = clear and certainly_failed(error)
            if attempt == 2 and clear:
                raise
            if attempt == 2:
                raise _Unclear(error) from error
            reconnect()
        else:
            return
