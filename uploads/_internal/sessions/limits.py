"""Enforce the limits of a session before any bytes arrive; each refusal names its limit."""

from __future__ import annotations

from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from django.db.models import Count, Q, Sum
from django.db.models.functions import Coalesce

from uploads._internal import conf, parts
from uploads._internal.conf import PARTIAL
from uploads._internal.stores import get_store
from uploads._internal.stores.base import Store
from uploads._internal.transfer.targets import largest_in_one_upload, largest_joined
from uploads._internal.transfer.transactions import durable
from uploads.destinations import Destination, destination_of
from uploads.exceptions import (
    ExtensionNotAllowed,
    FileTooLarge,
    LengthRequired,
    QuotaExceeded,
    StoreUnavailable,
    TooManySessions,
)
from uploads.models import Account, State, UploadSession

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser


def check_file(session: UploadSession) -> None:
    """Raise an error if the file's size or name is not allowed."""
    config = conf.current()
    store = get_store(session.storage)
    largest = largest_in_one_upload(store)
    if session.file_size > largest:
        largest = _largest_in(store)
    if config.MAX_FILE_SIZE is not None:
        largest = min(largest, config.MAX_FILE_SIZE)
    if session.file_size > largest:
        raise FileTooLarge(maximum=largest)
    allowed = None if session.is_partial else config.ALLOWED_EXTENSIONS
    if allowed is not None and PurePosixPath(session.file_name).suffix.lower() not in allowed:
        raise ExtensionNotAllowed(allowed=", ".join(sorted(allowed)))


def _largest_in(store: Store) -> int:
    """Return the maximum size of a file of known size in the store, in bytes."""
    if not store.limits_parts:
        return parts.MAX_OBJECT_SIZE
    return largest_joined(store) if store.composes else largest_in_one_upload(store)


def max_file_size() -> int:
    """Return the maximum size of any file in bytes, if the store can join segments."""
    config = conf.current()
    largest = parts.MAX_OBJECT_SIZE
    return largest if config.MAX_FILE_SIZE is None else min(largest, config.MAX_FILE_SIZE)


def _largest_unknown(bound: int | None) -> int:
    """Return the maximum size of a file for which only an upper bound is known.

    With the first bytes, it drops to the maximum of one upload unless the size is declared by then.
    """
    store = get_store(conf.current().STORAGE)
    largest = largest_in_one_upload(store)
    if bound is None or bound > largest:
        with suppress(StoreUnavailable):  # It is unknown then whether the store can join segments.
            largest = _largest_in(store)
    return min(largest, max_file_size(), largest if bound is None else bound)


def max_size_for(user: AbstractBaseUser, destination: Destination, bound: int | None, slack: int) -> int:
    """Return the maximum size of a user's file that has at most ``bound`` bytes.

    The bound may exceed the file's size by ``slack``; None means that there is no bound.

    If the user's space is limited, raises LengthRequired without a bound, and QuotaExceeded if the bound exceeds the
    free space by more than ``slack``.
    """
    most = _largest_unknown(bound)
    free = destination.free_space(user)
    if free is None:
        return most
    reserved = _reserved(user, destination)["size"]
    if bound is None:
        raise LengthRequired
    return max(0, min(most, _require_space(bound, free, reserved, slack)))


def _require_space(size: int, free: int, reserved: int, slack: int = 0) -> int:
    """Return the free bytes that no unfinished session has reserved.

    Raises QuotaExceeded if ``size`` exceeds them by more than ``slack``.
    """
    left = free - reserved
    if size - slack > left:
        raise QuotaExceeded(size=size, free=max(0, left), reserved=reserved)
    return left


def _reserved(
    user: AbstractBaseUser, destination: Destination, *, besides: UploadSession | None = None
) -> dict[str, int]:
    """Return the count and the bytes of the user's unfinished sessions in the destination.

    The bytes of completed partial uploads count until they belong to a file.
    """
    alias = destination.alias.removesuffix(PARTIAL)
    mine = UploadSession.objects.of(user)
    others = mine.unfinished().filter(destination__in=[alias, alias + PARTIAL])
    others |= mine.filter(destination=alias + PARTIAL, pending_file__isnull=False)
    if besides:
        others = others.exclude(pk__in=[besides.pk, *besides.partials])
    unfinished = Count("pk", filter=~Q(state=State.COMPLETED))
    return others.aggregate(count=unfinished, size=Coalesce(Sum("file_size"), 0))


def is_limited(user: AbstractBaseUser, destination: Destination) -> bool:
    """Return whether a limit depends on the user's existing sessions or files."""
    return conf.current().MAX_OPEN_SESSIONS is not None or destination.free_space(user) is not None


def check_user(user: AbstractBaseUser, session: UploadSession) -> None:
    """Raise an error if the user's other sessions and files leave no room."""
    destination = destination_of(session)
    maximum = conf.current().MAX_OPEN_SESSIONS
    held = _reserved(user, destination, besides=session)
    # Queried last, so that a file published in between counts twice instead of not at all.
    reserved, free = held["size"], destination.free_space(user)
    if maximum is not None and held["count"] >= maximum:
        raise TooManySessions(open=held["count"], maximum=maximum)
    if free is not None:
        _require_space(session.file_size, free, reserved)


def save_within_limits(user: AbstractBaseUser, session: UploadSession) -> None:
    """Save a new session if the limits of its user still allow it.

    A user's sessions are saved one after the other, so that two of them cannot both take the last slot.
    """
    with durable():
        Account.objects.get_or_create(owner_key=session.owner_key)
        Account.objects.select_for_update().get(pk=session.owner_key)
        check_user(user, session)
        session.save(force_insert=True)
