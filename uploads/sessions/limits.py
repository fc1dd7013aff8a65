"""Limits before bytes: what a session may not be opened for. Each refusal says its limit."""

from __future__ import annotations

from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from django.db.models import Count, F, Sum
from django.db.models.functions import Coalesce

from uploads import conf, parts
from uploads.destinations import Destination, destination_of
from uploads.exceptions import (
    ExtensionNotAllowed,
    FileTooLarge,
    LengthRequired,
    QuotaExceeded,
    StoreUnavailable,
    TooManySessions,
)
from uploads.models import Account, Segment, UploadSession
from uploads.stores import get_store
from uploads.transfer.places import composes
from uploads.transfer.transactions import durable

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser


def check_file(session: UploadSession) -> None:
    """Refuse a file for its size or name."""
    config = conf.current()
    largest = largest_in_one_upload()
    if session.file_size > largest and composes(get_store(session.storage)):
        largest = parts.largest_composed()
    if config.MAX_FILE_SIZE is not None:
        largest = min(largest, config.MAX_FILE_SIZE)
    if session.file_size > largest:
        raise FileTooLarge(maximum=largest)
    allowed = config.ALLOWED_EXTENSIONS
    if allowed is not None and PurePosixPath(session.file_name).suffix.lower() not in allowed:
        raise ExtensionNotAllowed(allowed=", ".join(sorted(allowed)))


def largest_in_one_upload() -> int:
    """Return the most bytes that a file may have which is one multipart upload.

    Parts of a larger one would not fit into the memory for buffers.
    """
    return parts.largest_file(conf.current().MAX_BUFFER_MEMORY // 2)


def largest_ever() -> int:
    """Return the most bytes that any file may have, if the store can put it together."""
    config = conf.current()
    largest = parts.largest_composed()
    return largest if config.MAX_FILE_SIZE is None else min(largest, config.MAX_FILE_SIZE)


def _largest_unknown(bound: int | None) -> int:
    """Return the most bytes that a file may have of which no more than a bound is known."""
    config = conf.current()
    wanted = largest_ever() if bound is None else min(bound, largest_ever())
    largest = parts.largest_file(config.PART_SIZE)
    if wanted > largest:
        with suppress(StoreUnavailable):  # else it does not tell whether it can put more together
            largest = wanted if composes(get_store(config.STORAGE)) else largest
    return min(largest, wanted)


def most_for(user: AbstractBaseUser, destination: Destination, bound: int | None, slack: int) -> int:
    """Return the most bytes that a file of the user may have which has at most ``bound``, give or take ``slack``.

    None stands for no bound at all.

    Raises LengthRequired or QuotaExceeded where that bound would take all that the user has left, or more.
    """
    most = _largest_unknown(bound)
    free = destination.free_space(user)
    if free is None:
        return most
    reserved = _held(user, destination)["size"]
    if bound is None:
        raise LengthRequired
    if bound - slack > free - reserved:
        raise QuotaExceeded(size=bound, free=max(0, free - reserved), reserved=reserved)
    return max(0, min(most, free - reserved))


def _held(user: AbstractBaseUser, destination: Destination, *, besides: UploadSession | None = None) -> dict[str, int]:
    """Return count and bytes of the user's unfinished sessions there."""
    others = UploadSession.objects.unfinished().of(user).filter(destination=destination.alias)
    if besides:
        others = others.exclude(pk=besides.pk)
    return others.aggregate(count=Count("pk"), size=Coalesce(Sum(F("file_size") + F("bytes_spare")), 0))


def is_limited(user: AbstractBaseUser, destination: Destination) -> bool:
    """Tell whether what the user has already matters at all."""
    return conf.current().MAX_OPEN_SESSIONS is not None or destination.free_space(user) is not None


def check_user(user: AbstractBaseUser, session: UploadSession) -> None:
    """Refuse a file for what its user has already."""
    destination = destination_of(session)
    maximum = conf.current().MAX_OPEN_SESSIONS
    held = _held(user, destination, besides=session)
    # Asked last: a file published in between counts twice then, not never.
    reserved, free = held["size"], destination.free_space(user)
    if maximum is not None and held["count"] >= maximum:
        raise TooManySessions(open=held["count"], maximum=maximum)
    if free is not None and session.file_size > free - reserved:
        raise QuotaExceeded(size=session.file_size, free=max(0, free - reserved), reserved=reserved)


def save_within_limits(user: AbstractBaseUser, session: UploadSession, first: Segment | None) -> None:
    """Save a new session, if it is still within the limits of its user.

    The user's sessions queue up here, so that two of them cannot both take the last place.
    """
    with durable():
        Account.objects.get_or_create(owner_key=session.owner_key)
        Account.objects.select_for_update().get(pk=session.owner_key)
        check_user(user, session)
        session.save(force_insert=True)
        if first:
            first.save(force_insert=True)
