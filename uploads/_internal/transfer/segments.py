"""Complete uploads: the file's own, or the segments that make a larger file.

Each segment becomes an object of its own, hidden among the fragments. The store makes the file of copies of the
segments, without a byte passing through this process. Interrupted composing is resumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from uploads._internal.parts import UploadPlan, update_crc32
from uploads._internal.stores.base import Part, Store, StoredObject, Upload
from uploads._internal.transfer.deadlines import call_with_timeout
from uploads._internal.transfer.fragments import make_parts, placed_fragments, whole_crc32
from uploads._internal.transfer.lease import Lease
from uploads._internal.transfer.targets import begin_upload, upload_of
from uploads._internal.transfer.transactions import durable
from uploads.exceptions import (
    RowsIncomplete,
    StoredObjectWrong,
    StoreRefused,
    StoreUnavailable,
    UploadError,
    UploadGone,
)
from uploads.models import CopiedPart, Segment, UploadPart, UploadSession

GONE_ATTEMPTS = 4
"""Number of attempts before an upload that the store does not know counts as gone.

A Complete that is still running looks the same until the object is visible.
"""
REPAIRS = 3
"""Maximum number of repairs in one attempt, if the store refuses to complete an upload."""


@dataclass(frozen=True)
class Copy:
    """A part of the file to be copied from a segment."""

    number: int
    source: str
    start: int
    size: int
    whole: bool
    """True if the part is the whole segment."""


def assemble(lease: Lease, store: Store, plan: UploadPlan) -> tuple[StoredObject, int | None]:
    """Make the file of its parts; return the stored object and its expected CRC-32, None if unknown.

    May be repeated; finished steps are skipped. Raises the store's errors, and RowsIncomplete.
    """
    session = lease.session
    if not plan.segment_parts:
        made, crc32 = _complete_repaired(lease, store, plan, upload_of(session), 0, session.file_size)
        return made, _known(session, crc32)
    count = -(-session.file_size // plan.segment_start(1))
    segments = list(session.segments.all())
    if [segment.index for segment in segments] != list(range(count)):
        raise RowsIncomplete(reason=f"of {count} segments there are {len(segments)}")
    for segment in segments:
        _finish_segment(lease, store, plan, segment)
    is_known = all(segment.crc32 is not None for segment in segments)
    crc32 = _known(session, whole_crc32(segments) if is_known else None)
    copies = _compose(lease, store, plan, segments)
    stored, lost = complete_upload(lease, store, upload_of(session), copies, crc32)
    if stored is None:
        is_gone = isinstance(lost, UploadGone) and session.attempts >= GONE_ATTEMPTS - 1
        if is_gone or isinstance(lost, StoreRefused):  # A copy of an earlier attempt may have arrived late.
            _forget_copies(lease, store)
            raise StoreUnavailable from lost
        raise lost or StoreUnavailable
    return stored, crc32


def _known(session: UploadSession, crc32: int | None) -> int | None:
    """Return the file's CRC-32, and compare it with that of its partial uploads; raise StoredObjectWrong.

    ``crc32`` is that of the parts, None if the store reports none of copied parts.
    """
    if not session.partials:
        return crc32
    known = whole_crc32(session.fragments.all())
    if crc32 not in (None, known):
        raise StoredObjectWrong(reason=f"its CRC-32 is {crc32:08x} instead of {known:08x}")
    return known


def complete_upload(
    lease: Lease, store: Store, upload: Upload, parts: Sequence[Part], crc32: int | None
) -> tuple[StoredObject | None, UploadError | None]:
    """Have the store make an object of its parts.

    Returns the stored object, or None, and the error of the call, or None.

    Such an error does not show the outcome: the object may have been made before, or be made nevertheless.
    """
    lost: UploadError | None = None
    try:
        lease.threads.call(store.complete, upload, parts, crc32=crc32)
    except (StoreRefused, StoreUnavailable, UploadGone) as error:
        lost = error
    try:
        return lease.threads.call(store.stat, upload.name), lost
    except StoreUnavailable:
        # Without permission to list, a store reports a missing object as StoreUnavailable.
        raise lost or StoreUnavailable from None


def _complete_repaired(
    lease: Lease, store: Store, plan: UploadPlan, upload: Upload, start: int, end: int
) -> tuple[StoredObject, int | None]:
    """Complete an upload of the bytes from ``start`` to ``end``.

    Parts that a late writer changed are written again.
    """
    is_certain = True
    for _ in range(REPAIRS):
        rows = _rows_between(lease.session, store, start, end)
        crc32 = None if any(row.crc32 is None for row in rows) else whole_crc32(rows)
        parts = [Part(plan.number(plan.index(row.offset)), row.size, row.crc32, row.etag) for row in rows]
        stored, lost = complete_upload(lease, store, upload, parts, crc32)
        if stored is not None:
            if not is_certain and stored.crc32 is None and crc32 is not None:
                _read_back(lease, store, upload, crc32)
            return stored, crc32
        if not isinstance(lost, StoreRefused):
            break
        repaired = _repair(lease, store, plan, upload, rows)
        if repaired is None:
            break
        is_certain &= repaired
    raise lost or StoreUnavailable


def _read_back(lease: Lease, store: Store, upload: Upload, crc32: int) -> None:
    """Compare the content of an object with its CRC-32; raise StoredObjectWrong if it differs."""
    found, blocks = 0, iter(store.read(upload.name))
    while (block := call_with_timeout(next, blocks, None)) is not None:
        lease.renew()
        found = update_crc32(block, found)
    if found != crc32:
        raise StoredObjectWrong(reason=f"its CRC-32 is {found:08x} instead of {crc32:08x}")


def _repair(lease: Lease, store: Store, plan: UploadPlan, upload: Upload, rows: Sequence[UploadPart]) -> bool | None:
    """Rewrite parts that differ from their rows; return None if there are none.

    A part without fragments can only have been rewritten with the same bytes. Some stores assign another ETag each
    time. Returns False if the store does not confirm such a part by a checksum.
    """
    session = lease.session
    listed = lease.threads.call(store.list_parts, upload)
    kept = {
        index
        for at, item in placed_fragments(session)
        for index in range(plan.index(at), plan.index(at + item.size - 1) + 1)
    }
    again: list[UploadPart] = []
    renamed: list[UploadPart] = []
    for row in rows:
        index = plan.index(row.offset)
        found = None if listed is None else listed.get(plan.number(index))
        if found is not None and found.etag == row.etag:
            continue
        if found is not None and found.size == row.size and found.crc32 in (row.crc32, None) and index not in kept:
            row.etag = found.etag
            renamed.append(row)
        elif index in kept:
            again.append(row)
    if not again and not renamed:
        return None
    confirmed = all((listed or {})[plan.number(plan.index(row.offset))].crc32 is not None for row in renamed)
    with durable():
        lease.commit(keep=True)
        UploadPart.objects.bulk_update(renamed, ["etag"])
        session.parts.filter(pk__in=[row.pk for row in again]).delete()
    make_parts(lease, store, plan)
    return confirmed


def _rows_between(session: UploadSession, store: Store, start: int, end: int) -> list[UploadPart]:
    """Return the parts from ``start`` to ``end``; raise RowsIncomplete unless they are adjacent."""
    rows = list(session.parts.filter(offset__gte=start, offset__lt=max(end, 1)))
    position = start
    for row in rows:
        if row.offset != position:
            raise RowsIncomplete(reason=f"at byte {position} there is a part that starts at byte {row.offset}")
        position += row.size
        if row.size < store.min_part_size and position != end:
            raise RowsIncomplete(reason=f"the part at byte {row.offset} has only {row.size} bytes")
    if position != end or not rows:
        raise RowsIncomplete(reason=f"they add up to {position} of {end} bytes")
    return rows


def _finish_segment(lease: Lease, store: Store, plan: UploadPlan, segment: Segment) -> None:
    """Make a segment an object, and delete the rows of its parts."""
    if segment.size is not None:
        return
    session, start = lease.session, plan.segment_start(segment.index)
    end = min(session.file_size, plan.segment_start(segment.index + 1))
    upload = Upload(segment.name, segment.upload_id)
    stored, crc32 = _complete_repaired(lease, store, plan, upload, start, end)
    differs = crc32 is not None and stored.crc32 not in (None, crc32)
    if stored.size != end - start or differs:
        raise StoredObjectWrong(reason=f"segment {segment.index} has {stored.size} bytes instead of {end - start}")
    segment.size, segment.crc32 = stored.size, crc32
    with durable():
        lease.commit(keep=True)
        segment.save(update_fields=["size", "crc32"])
        session.parts.filter(offset__gte=start, offset__lt=end).delete()


def _compose(lease: Lease, store: Store, plan: UploadPlan, segments: Iterable[Segment]) -> list[Part]:
    """Copy the segments into the session's upload; return the parts of that upload."""
    session = lease.session
    if not session.upload_id:
        lease.commit(keep=True, upload_id=lease.threads.call(begin_upload, session, store))
    copies = list(_copies(plan, segments))
    done = _done(session, copies)
    try:
        _copy(lease, store, copies[done:])
    except UploadGone as error:
        _forget_copies(lease, store)
        raise StoreUnavailable from error
    return [Part(row.number, row.size, row.crc32, row.etag) for row in session.copied_parts.all()]


def _done(session: UploadSession, copies: Sequence[Copy]) -> int:
    """Return the number of leading copies that exist as planned; forget all others."""
    sizes = dict(session.copied_parts.values_list("number", "size"))
    done = 0
    while done < len(copies) and sizes.get(copies[done].number) == copies[done].size:
        done += 1
    session.copied_parts.filter(number__gt=done).delete()
    return done


def _forget_copies(lease: Lease, store: Store) -> None:
    """Start composing again in another upload.

    The store no longer has the upload of the copies, or refuses it.
    """
    session = lease.session
    lease.threads.call(store.abort, upload_of(session))
    with durable():
        lease.commit(keep=True, upload_id="")
        session.copied_parts.all().delete()


def _copies(plan: UploadPlan, segments: Iterable[Segment]) -> Iterator[Copy]:
    """Yield the copies to make; all but the last of the file have one size.

    Some stores require parts of equal size.
    """
    number, most = 1, plan.copy_parts * plan.part_size
    for segment in segments:
        size = segment.size or 0
        for start in range(0, size, most):
            taken = min(most, size - start)
            yield Copy(number, segment.name, start, taken, taken == size)
            number += 1


def _copy(lease: Lease, store: Store, copies: Iterable[Copy]) -> None:
    """Let the store make several copies at a time; record each finished one."""
    session = lease.session
    calls = (partial(store.copy_part, upload_of(session), **asdict(copy)) for copy in copies)
    for part in lease.threads.each(calls):
        with durable():
            lease.commit(keep=True)
            CopiedPart.objects.create(session=session, **asdict(part))
