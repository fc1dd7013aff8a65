"""Join finished partial uploads to one file (tus 1.0, concatenation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING
from uuid import UUID

from uploads._internal import conf
from uploads._internal.conf import PARTIAL
from uploads._internal.sessions.complete import await_check, complete_held
from uploads._internal.sessions.create import FileRequest, create
from uploads._internal.sessions.states import move_held
from uploads._internal.sessions.whole import give_up
from uploads._internal.transfer.lease import Lease, acquire_lease, fresh_expiry
from uploads._internal.transfer.transactions import durable, outside_transaction
from uploads.exceptions import SessionNotFound, UploadError
from uploads.models import Fragment, Mode, PendingFile, State, UploadSession

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser


class PartialUnfinished(UploadError):
    code = "partial_unfinished"
    status = 409
    text = "The partial upload {id} is not completed: {state}."


class PartialsTaken(UploadError):
    code = "partials_taken"
    status = 409
    text = "The partial uploads belong to another file already, have expired, or are in another storage."


@outside_transaction
def concatenate(user: AbstractBaseUser, folder_id: str, file: FileRequest) -> UploadSession:
    """Create a session of ``user`` that consists of ``file.partials``, in their order, and complete it.

    The same request, sent again, returns the same session. Raises the errors of ``create``, SessionNotFound,
    PartialUnfinished if a partial upload is not completed, and PartialsTaken if one belongs to another file.
    """
    partials = _find(user, file)
    if session := _earlier(partials, file):
        return session
    session = create(user, folder_id, replace(file, size=sum(partial.file_size for partial in partials)))
    try:
        with acquire_lease(session) as lease:
            _take(lease, partials)
            complete_held(lease, budget=conf.current().COMPLETION_BUDGET)
    except BaseException:
        give_up(session)
        raise
    return await_check(session)


def _find(user: AbstractBaseUser, file: FileRequest) -> list[UploadSession]:
    own = UploadSession.objects.of(user).filter(destination=file.destination + PARTIAL).in_bulk(file.partials)
    if len(own) != len(file.partials):
        raise SessionNotFound
    partials = [own[pk] for pk in file.partials]
    for partial in partials:
        if partial.state != State.COMPLETED:
            raise PartialUnfinished(id=partial.pk.hex, state=partial.get_state_display())
    return partials


def _earlier(partials: Sequence[UploadSession], file: FileRequest) -> UploadSession | None:
    """Return the session that has just these partial uploads; raise PartialsTaken if one belongs to another."""
    owners = {UUID(hex=partial.file_id) for partial in partials if partial.file_id != partial.pk.hex}
    if not owners:
        return None
    session = UploadSession.objects.filter(pk=owners.pop()).first()
    if session is None or session.state in (State.ABORTED, State.EXPIRED) or session.partials != [*file.partials]:
        raise PartialsTaken
    return session


def _take(lease: Lease, partials: Sequence[UploadSession]) -> None:
    """Make the objects of the partial uploads fragments of the file; raise PartialsTaken if that is too late."""
    session = lease.session
    filled = [partial for partial in partials if partial.file_size]
    offsets = accumulate((partial.file_size for partial in filled), initial=0)
    fragments = [
        Fragment(session=session, offset=at, size=row.file_size, crc32=row.digests["crc32"], name=row.object_name)
        for at, row in zip(offsets, filled, strict=False)
    ]
    with durable():
        taken = PendingFile.take(PendingFile.objects.filter(session__in=filled))
        if taken != len(filled) or any(partial.storage != session.storage for partial in filled):
            raise PartialsTaken
        move_held(
            lease,
            State.COMPLETING,
            keep=True,
            mode=Mode.SEQUENTIAL,
            attempts=1,
            bytes_stored=session.file_size,
            expires_at=fresh_expiry(),
        )
        Fragment.objects.bulk_create(fragments)
        UploadSession.objects.filter(pk__in=session.partials).update(file_id=session.pk.hex)
