"""Parts that clients send to the store themselves, by signed URLs.

The server plans the parts and signs each URL for one part, its exact size and, if the client knows it, its CRC-32. Only
the store knows what arrived, so it is asked; nothing that a client says about stored parts is believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from uploads import signals
from uploads._internal import conf
from uploads._internal.parts import MAX_PART_SIZE, UploadPlan
from uploads._internal.sessions.admission import check_open, require_live
from uploads._internal.sessions.complete import await_check, complete, complete_held
from uploads._internal.sessions.states import move_held
from uploads._internal.stores import get_store
from uploads._internal.stores.base import SignedUrl, Store, Upload
from uploads._internal.transfer.deadlines import call_with_timeout
from uploads._internal.transfer.lease import acquire_lease, fresh_expiry
from uploads._internal.transfer.targets import begin_planned, upload_of
from uploads._internal.transfer.transactions import durable, outside_transaction
from uploads.destinations import Destination, destination_of
from uploads.exceptions import InvalidRequest, SessionBusy, UploadError, UploadIncomplete
from uploads.models import Mode, SignedPart, State, UploadPart, UploadSession

MIB = 2**20
PART_SIZE = 8 * MIB
"""Preferred size of a direct part in bytes."""
FEW_PARTS = 1000
"""Maximum number of parts while they are smaller than 5 GiB: ListParts answers 1,000 at a time."""
LOOK_AFTER = timedelta(seconds=5)
"""Time after which signing asks the store for the stored parts, to show the progress."""
MISSING_SHOWN = 20


class DirectUnsupported(UploadError):
    code = "direct_unsupported"
    status = 409
    text = "The parts of this file must be sent through the portal: {reason}."


class PartSigned(UploadError):
    code = "part_signed"
    status = 409
    text = "Part {number} was signed for other bytes; begin a new upload."


@dataclass(frozen=True)
class DirectSettings:
    """Settings of direct parts."""

    DIRECT: bool = conf.setting(
        False,  # noqa: FBT003 - the default
        57,
        "True or False",
        "Offer clients signed URLs, to send parts straight to the store; a destination's option `direct` overrides it.",
        lambda value: isinstance(value, bool),
    )
    DIRECT_ENDPOINT_URL: str = conf.setting(
        "", 58, "URL", "The store's public address, if clients reach it by another name than the portal.", conf.is_text
    )
    DIRECT_URL_LIFETIME: timedelta = conf.setting(
        timedelta(minutes=15), 59, "timedelta", "How long a signed URL is valid.", conf.is_duration
    )


conf.register(DirectSettings)


@dataclass(frozen=True)
class DirectPart:
    """A part that the client may send: where it lies in the file, and its signed URL."""

    number: int
    offset: int
    size: int
    signed: SignedUrl
    expires_at: datetime


def direct_settings() -> DirectSettings:
    return conf.of(DirectSettings)


def expires_at(settings: DirectSettings) -> datetime:
    """Return when a URL signed now expires."""
    return timezone.now() + settings.DIRECT_URL_LIFETIME


def offers_direct(destination: Destination) -> bool:
    return direct_settings().DIRECT if destination.direct is None else destination.direct


def is_offered(session: UploadSession) -> bool:
    """Return whether the session's client may send parts straight to the store."""
    return session.size_known and offers_direct(destination_of(session))


def require_offered(session: UploadSession) -> None:
    if not is_offered(session):
        raise DirectUnsupported(reason="the portal offers no other way for it")


def plan_direct(session: UploadSession, store: Store, part_size: int = 0) -> UploadPlan:
    """Return the plan of a direct upload: parts of one size, in a single multipart upload.

    ``part_size`` is the size in bytes if the client's protocol determines it.
    """
    smallest = -(-session.file_size // min(store.max_parts, FEW_PARTS))
    size = part_size or max(PART_SIZE, store.min_part_size, -(-smallest // MIB) * MIB)
    if size > MAX_PART_SIZE:
        raise DirectUnsupported(reason="the file is too large for one multipart upload")
    return UploadPlan(size)


def count_parts(session: UploadSession, plan: UploadPlan) -> int:
    return max(1, -(-session.file_size // plan.part_size))


def size_of_part(session: UploadSession, plan: UploadPlan, number: int) -> int:
    """Return the size of a part in bytes; raise InvalidRequest if the file has no such part."""
    count = count_parts(session, plan)
    if not 1 <= number <= count:
        message = f"The file has the parts 1 to {count}."
        raise InvalidRequest(message)
    return min(plan.part_size, session.file_size - (number - 1) * plan.part_size)


@outside_transaction
def sign_parts(session: UploadSession, wanted: Mapping[int, int | None], part_size: int = 0) -> list[DirectPart]:
    """Return signed URLs for parts; ``wanted`` has the CRC-32 of each number, None if unknown.

    The first call decides that the upload is direct, and whether its parts have checksums.

    Raises DirectUnsupported, InvalidRequest, PartSigned, and the errors of an open session.
    """
    check_open(session, Mode.DIRECT)
    require_offered(session)
    store, settings = get_store(session.storage), direct_settings()
    plan = session.plan or plan_direct(session, store, part_size)
    sizes = {number: size_of_part(session, plan, number) for number in wanted}
    if session.mode == Mode.UNDECIDED:
        plan = _begin(session, store, plan, checked=all(crc32 is not None for crc32 in wanted.values()))
    if not session.layout.get("checked"):  # The client knows no checksums, or the store takes none.
        wanted = dict.fromkeys(wanted)
    elif None in wanted.values():
        message = "Send the CRC-32 of all parts, or of none."
        raise InvalidRequest(message)
    else:
        _note_checksums(session, wanted)
    if timezone.now() - session.updated_at > LOOK_AFTER:
        session.change(expires_at=fresh_expiry())
        list_direct(session)
    seconds = int(settings.DIRECT_URL_LIFETIME.total_seconds())
    until, found = expires_at(settings), []
    for number, crc32 in wanted.items():
        signed = _sign(
            store,
            upload_of(session),
            number=number,
            size=sizes[number],
            crc32=crc32,
            seconds=seconds,
            endpoint=settings.DIRECT_ENDPOINT_URL,
        )
        found.append(DirectPart(number, (number - 1) * plan.part_size, sizes[number], signed, until))
    return found


def _sign(store: Store, upload: Upload, **wanted: Any) -> SignedUrl:
    signed = store.sign_part(upload, **wanted)
    if signed is None:
        raise DirectUnsupported(reason="its storage has no signed URLs")
    return signed


def _begin(session: UploadSession, store: Store, plan: UploadPlan, *, checked: bool) -> UploadPlan:
    """Begin the upload in the store, unless another request was first, or the store signs no URLs."""
    _sign(store, Upload(session.file_name, "trial"), number=1, size=1, crc32=None, seconds=1, endpoint="")
    layout = plan.as_json() | {"checked": checked and store.takes_checksums}
    untouched = UploadSession.objects.idle().filter(mode=Mode.UNDECIDED)

    def save(upload_id: str) -> bool:
        # A new fence, so that no other request that has read the row can begin to write.
        return session.change(held=False, among=untouched, layout=layout, upload_id=upload_id, mode=Mode.DIRECT)

    begin_planned(session, store, plan, save, checked=bool(layout["checked"]))
    session.refresh_from_db()
    if session.mode == Mode.UNDECIDED:
        raise SessionBusy
    check_open(session, Mode.DIRECT)
    return session.plan or plan


def _note_checksums(session: UploadSession, wanted: Mapping[int, int | None]) -> None:
    """Save the checksums that the URLs are signed for; raise PartSigned if one has changed.

    With two checksums for one part, it would not be known which of them the store took.
    """
    SignedPart.objects.bulk_create(
        [SignedPart(session=session, number=number, crc32=crc32 or 0) for number, crc32 in wanted.items()],
        ignore_conflicts=True,
    )
    for row in session.signed_parts.filter(number__in=[*wanted]):
        if row.crc32 != wanted[row.number]:
            raise PartSigned(number=row.number)


@outside_transaction
def list_direct(session: UploadSession) -> list[UploadPart]:
    """Ask the store for the stored parts, save them, and return them.

    A part counts if its size is that of the plan. Raises DirectUnsupported if the store does not list parts.
    """
    require_live(session)
    plan = session.plan
    if session.mode != Mode.DIRECT or plan is None or session.state != State.OPEN:
        return list(session.parts.all())
    stored = _stored_parts(session, plan)
    known = {row.offset: row.etag for row in session.parts.all()}
    fresh = [row for row in stored if known.get(row.offset) != row.etag]
    gone = {row.offset for row in fresh} | (set(known) - {row.offset for row in stored})
    total = sum(row.size for row in stored)
    with durable():
        until = fresh_expiry() if fresh else session.expires_at
        if not session.change(bytes_stored=total, expires_at=until):
            return stored  # Another request is completing or ending the session.
        session.parts.filter(offset__in=gone & set(known)).delete()
        UploadPart.objects.bulk_create(fresh, ignore_conflicts=True)
    if fresh:
        size = sum(row.size for row in fresh)
        signals.chunk_stored.send_robust(UploadSession, session=session, size=size)
    return stored


def _stored_parts(session: UploadSession, plan: UploadPlan) -> list[UploadPart]:
    """Return rows for the parts in the store, in their order. Those of another size do not count."""
    listed = call_with_timeout(get_store(session.storage).list_parts, upload_of(session))
    if listed is None:
        raise DirectUnsupported(reason="its storage does not list parts")
    signed = dict(session.signed_parts.values_list("number", "crc32"))
    count = count_parts(session, plan)
    rows: list[Any] = []
    for number, part in sorted(listed.items()):
        if number > count or part.size != size_of_part(session, plan, number):
            continue
        crc32 = signed.get(number, part.crc32)
        if part.crc32 in (None, crc32):
            offset = (number - 1) * plan.part_size
            rows.append(UploadPart(session=session, offset=offset, size=part.size, crc32=crc32, etag=part.etag))
    return rows


@outside_transaction
def complete_direct(session: UploadSession) -> UploadSession:
    """Complete a session whose parts are all in the store; raise UploadIncomplete naming the missing ones.

    May be repeated, with the same result for as long as the row is kept.
    """
    if session.state == State.COMPLETED:
        return session
    if session.is_finishing:
        return complete(session)
    check_open(session, Mode.DIRECT)
    with acquire_lease(session) as lease:
        plan = session.plan
        stored = _stored_parts(session, plan) if plan else []
        if plan is None or len(stored) != count_parts(session, plan):
            _refuse_incomplete(session, plan, stored)
        with durable():
            session.parts.all().delete()
            UploadPart.objects.bulk_create(stored)
            move_held(lease, State.COMPLETING, keep=True, bytes_stored=session.file_size, attempts=1)
        complete_held(lease, budget=conf.current().COMPLETION_BUDGET)
    return await_check(session)


def _refuse_incomplete(session: UploadSession, plan: UploadPlan | None, stored: list[UploadPart]) -> None:
    there = {row.offset // plan.part_size + 1 for row in stored} if plan else set()
    count = count_parts(session, plan) if plan else 1
    missing = [number for number in range(1, count + 1) if number not in there][:MISSING_SHOWN]
    text = f"; missing parts: {', '.join(map(str, missing))}"
    raise UploadIncomplete(stored=sum(row.size for row in stored), total=session.file_size, missing=text)


def may_be_written(session: UploadSession) -> bool:
    """Return whether a signed URL of an ended session may still be valid."""
    return session.mode == Mode.DIRECT and session.updated_at + direct_settings().DIRECT_URL_LIFETIME > timezone.now()
