"""Create a session."""

from __future__ import annotations

import logging
import mimetypes
import posixpath
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import Error, IntegrityError
from django.utils import timezone

from uploads import conf, names, owners, parts, signals
from uploads.destinations import Folder, get_destination, plain_id
from uploads.exceptions import EncryptionUnsupported, UploadError
from uploads.models import NamingKey, Segment, UploadSession
from uploads.sessions.end import abort
from uploads.sessions.limits import check_file, check_user, composes, is_limited, most_for, save_within_limits
from uploads.sessions.rules import ANY, Rules
from uploads.stores import get_store
from uploads.stores.base import Store, Upload
from uploads.stores.names import mark_of
from uploads.transfer.places import begin_segment, begin_upload, has_segments, upload_of
from uploads.transfer.transactions import durable, reconnect, verb
from uploads.transfer.writer import FRAMING

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileRequest:
    """What a client says of the file it is going to send."""

    name: str
    size: int
    """In bytes; the most that it may have, if ``size_known`` is False."""
    relative_path: str = ""
    created_at: datetime | None = None
    encrypted: bool = False
    create_new: bool = False
    rules: Rules = ANY
    """Those of the door that the session is opened through."""
    longest_title: int = names.MAX_LENGTH
    """Characters that titles are cut to."""
    size_known: bool = True


@verb
def create(user: AbstractBaseUser, folder_id: str, file: FileRequest) -> UploadSession:
    """Open a session of ``user`` for ``file`` in a folder of the portal; the store knows of it afterwards.

    Raises what the destination raises, InvalidName, FileTooLarge, ExtensionNotAllowed, TooManySessions,
    QuotaExceeded, EncryptionUnsupported or StoreUnavailable; then nothing is left behind.
    """
    destination = get_destination()
    title, subfolders = (
        names.clean(file.name, file.longest_title),
        names.split_path(file.relative_path, file.longest_title),
    )
    folder = destination.folder(user, folder_id)
    if subfolders:
        folder = destination.subfolder(user, folder, subfolders)
    session = _open(user, _new_session(user, folder, title, file))
    if subfolders:
        _confirm_folder(user, session)
    return session


@verb
def create_edit(
    user: AbstractBaseUser, file_id: str, size: int, *, size_known: bool = True, rules: Rules = ANY
) -> UploadSession:
    """Open a session of ``user`` for new content of a file of the portal, ``size`` bytes; it keeps its version.

    Raises like ``create``.
    """
    file = get_destination().file(user, file_id)
    request = FileRequest(name=file.title, size=size, size_known=size_known, rules=rules)
    session = _new_session(user, file.folder, file.title, request)
    session.file_id, session.file_version = str(file.id), file.version
    return _open(user, session)


def _open(user: AbstractBaseUser, session: UploadSession) -> UploadSession:
    destination = get_destination()
    try:
        check_file(session)
        limited = is_limited(user)
        if limited:
            check_user(user, session)
        destination.accept(user, session)
        _open_upload(user, session, limited=limited)
    except _Unclear as error:
        raise error.cause from None
    except BaseException:
        destination.discard(session)
        raise
    logger.info("session %s: created for %d bytes", session.pk, session.file_size)
    signals.session_created.send_robust(UploadSession, session=session)
    return session


def _confirm_folder(user: AbstractBaseUser, session: UploadSession) -> None:
    """Make sure that nobody removed the folder as an empty one before the session claimed it."""
    try:
        get_destination().folder(user, session.folder_id)
    except UploadError:
        abort(session)
        raise


def _new_session(user: AbstractBaseUser, folder: Folder, title: str, file: FileRequest) -> UploadSession:
    config = conf.current()
    now = timezone.now()
    return UploadSession(
        owner_key=owners.key_of(user),
        folder_id=str(folder.id),
        path=[plain_id(pk) for pk in folder.path],
        file_name=title,
        file_size=file.size if file.size_known else most_for(user, file.size, FRAMING),
        size_known=file.size_known,
        content_type=mimetypes.guess_type(title)[0] or "application/octet-stream",
        file_created_at=_as_stored(file.created_at),
        encrypted=file.encrypted,
        create_new=file.create_new,
        storage=config.STORAGE,
        max_chunks=parts.highest_chunk(file.size, file.rules.least),
        created_at=now,
        updated_at=now,
        expires_at=now + config.SESSION_LIFETIME,
    )


def _as_stored(moment: datetime | None) -> datetime | None:
    """Return the moment as the portal's dates are, aware or not."""
    return timezone.make_naive(moment) if moment and not settings.USE_TZ else moment


def _open_upload(user: AbstractBaseUser, session: UploadSession, *, limited: bool) -> None:
    store = get_store(session.storage)
    if session.encrypted and not store.encrypts:
        raise EncryptionUnsupported
    # As the store will list it: the audit compares names.
    session.mark = mark_of(session.id, names.for_storage(session.file_name), NamingKey.current())
    session.name_object(posixpath.normpath(get_destination().object_name(session)))
    preferred = max(conf.current().PART_SIZE, store.min_part_size)
    session.segmented = session.file_size > parts.largest_file(preferred) and composes(store)
    if session.segmented:
        session.part_size = preferred
    else:
        session.part_size = parts.plan_part_size(session.file_size, preferred, store.min_part_size)
    first = _begin(session, store)
    try:
        _save(user, session, first, limited=limited)
    except _Unclear:
        raise  # Expiry and audit find what came of it.
    except BaseException:
        store.abort(Upload(first.name, first.upload_id) if first else upload_of(session))
        raise


def _begin(session: UploadSession, store: Store) -> Segment | None:
    """Begin the session's upload in the store, or its first segment, which is returned."""
    if has_segments(session, store):
        return begin_segment(session, store, 0)
    session.upload_id = begin_upload(session, store)
    return None


class _Unclear(Exception):
    """The row may be there or not: nothing that it would name may be given up."""

    def __init__(self, cause: Error) -> None:
        super().__init__()
        self.cause = cause


def _save(user: AbstractBaseUser, session: UploadSession, first: Segment | None, *, limited: bool) -> None:
    """Save the new session; if the database's answer is lost, save it again, which tells whether it was saved."""
    for attempt in (1, 2):
        try:
            if limited:
                save_within_limits(user, session, first)
            elif first:
                with durable():
                    session.save(force_insert=True)
                    first.save(force_insert=True)
            else:
                session.save(force_insert=True)
        except IntegrityError:
            if attempt == 1:
                raise
            session.refresh_from_db()  # Nobody else has this id.
            return
        except Error as error:
            if attempt == 2:
                raise _Unclear(error) from error
            reconnect()
        else:
            return
