"""Segments: a file of more parts than a multipart upload has is several uploads, which the store puts together.

Each segment becomes an object of its own, hidden among the pieces; the file is made of copies of them, at most 5 GiB
each, without a byte passing through here. Where it stopped, composing goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from itertools import groupby

from uploads import parts
from uploads.exceptions import StoredObjectWrong, StoreRefused, StoreUnavailable, UploadError, UploadGone
from uploads.models import CopiedPart, Segment, UploadPart, UploadSession
from uploads.stores.base import Part, Store, StoredObject, Upload
from uploads.stores.buffer import Buffer
from uploads.transfer.lease import Lease
from uploads.transfer.pieces import whole_crc32
from uploads.transfer.places import begin_upload, upload_of
from uploads.transfer.transactions import durable


@dataclass(frozen=True)
class Copy:
    """A part of the file to be copied from a segment."""

    number: int
    source: str
    start: int
    size: int
    whole: bool
    """Whether it is all of the segment."""


def complete_upload(
    lease: Lease, store: Store, upload: Upload, parts: Sequence[Part], crc32: int, *, before: int | None = None
) -> tuple[StoredObject | None, UploadError | None]:
    """Have the store make an object of its parts; return what it says of it then, and why there may be none.

    An error of the call says nothing of its outcome: it may have been done before, or be done all the same. An object
    of ``before`` bytes is what had the name until then.
    """
    lost: UploadError | None = None
    try:
        lease.threads.call(store.complete, upload, parts, crc32=crc32)
    except (StoreRefused, StoreUnavailable, UploadGone) as error:
        lost = error
    try:
        stored = lease.threads.call(store.stat, upload.name)
        return (None if stored is not None and stored.size == before else stored), lost
    except StoreUnavailable:
        raise lost or StoreUnavailable from None  # Without the right to list, a store says so of a missing object.


def as_parts(rows: Iterable[UploadPart]) -> list[Part]:
    return [Part(row.number or 0, row.size, row.crc32, row.etag) for row in rows]


def compose(lease: Lease, store: Store, rows: Sequence[UploadPart]) -> list[Part]:
    """Make the segments objects and copy them into the session's upload; return the parts that it is made of.

    May be repeated; what is done is not done again. Raises what the store raises.
    """
    session = lease.session
    segments = list(session.segments.all())
    by_segment = {index: list(group) for index, group in groupby(rows, lambda row: row.segment)}
    for segment in segments:
        _finish_segment(lease, store, segment, by_segment.get(segment.index, []))
    if not session.upload_id:
        lease.commit(keep=True, upload_id=lease.threads.call(begin_upload, session, store))
    copies = list(_copies(segments, store.min_part_size))
    done = _done(session, copies) if copies else 0
    lease.commit(keep=True, bytes_composed=sum(copy.size for copy in copies[:done]))
    try:
        _copy(lease, store, copies[done:])
        if not copies and not session.copied_parts.exists():  # of an empty file: an upload has one part at least
            etag = lease.threads.call(store.put_part, upload_of(session), number=1, offset=0, data=Buffer(b""))
            lease.renew()
            CopiedPart.objects.create(session=session, number=1, size=0, crc32=0, etag=etag)
    except UploadGone as error:
        forget_copies(lease, store)
        raise StoreUnavailable from error
    return [Part(row.number, row.size, row.crc32, row.etag) for row in session.copied_parts.all()]


def _done(session: UploadSession, copies: Sequence[Copy]) -> int:
    """Return how many of the copies, from the first on, are there as they are planned now; forget all others."""
    sizes = dict(session.copied_parts.values_list("number", "size"))
    done = 0
    while done < len(copies) and sizes.get(copies[done].number) == copies[done].size:
        done += 1
    session.copied_parts.filter(number__gt=done).delete()
    return done


def forget_copies(lease: Lease, store: Store) -> None:
    """Begin composing anew in another upload: the store no longer has that of the copies, or refuses it."""
    session = lease.session
    lease.threads.call(store.abort, upload_of(session))
    with durable():
        lease.commit(keep=True, upload_id="", bytes_composed=0)
        session.copied_parts.all().delete()


def objects_of(session: UploadSession) -> list[str]:
    """Return the names of the segments' objects, but for one that has the file's own name."""
    return list(session.segments.exclude(name=session.object_name).values_list("name", flat=True))


def size_before(session: UploadSession) -> int | None:
    """Return the bytes of what has the file's name before the file has it: its first segment, if there are others."""
    first = session.segments.filter(name=session.object_name, size__lt=session.file_size).first()
    return None if first is None else first.size


def uploads_of(session: UploadSession) -> list[Upload]:
    """Return all multipart uploads that the session has or may have."""
    own = [upload_of(session)] if session.upload_id else []
    return [*own, *(Upload(segment.name, segment.upload_id) for segment in session.segments.all())]


def _finish_segment(lease: Lease, store: Store, segment: Segment, rows: Sequence[UploadPart]) -> None:
    if segment.size is not None:
        return
    upload, size = Upload(segment.name, segment.upload_id), sum(row.size for row in rows)
    if not rows:
        lease.threads.call(store.abort, upload)
    else:
        crc32 = whole_crc32(rows)
        stored, lost = complete_upload(lease, store, upload, as_parts(rows), crc32)
        if stored is None:
            raise lost or StoreUnavailable
        if stored.size != size or stored.crc32 not in (None, crc32):
            raise StoredObjectWrong(reason=f"segment {segment.index} has {stored.size} bytes instead of {size}")
    segment.size = size
    lease.renew()
    segment.save(update_fields=["size"])


def _copies(segments: Iterable[Segment], least: int) -> Iterator[Copy]:
    """Yield what to copy: each segment, in as few copies as the store allows; all but the last of ``least`` bytes."""
    number = 1
    for segment in segments:
        start, left = 0, segment.size or 0
        while left:
            size = min(left, parts.limits.copy_size)
            if 0 < left - size < least:
                size = left - least
            yield Copy(number, segment.name, start, size, size == segment.size)
            number, start, left = number + 1, start + size, left - size


def _copy(lease: Lease, store: Store, copies: Iterable[Copy]) -> None:
    """Let the store copy, several at a time; each is noted when it is done."""
    session = lease.session
    upload = upload_of(session)
    under_way: list[Future[Part]] = []

    def note(future: Future[Part]) -> None:
        part = lease.threads.finish(future)
        with durable():
            lease.commit(keep=True, bytes_composed=session.bytes_composed + part.size)
            CopiedPart.objects.create(session=session, **asdict(part))

    for copy in copies:
        if len(under_way) == lease.threads.count:
            note(under_way.pop(0))
        under_way.append(lease.threads.start(store.copy_part, upload, **asdict(copy)))
    for future in under_way:
        note(future)
