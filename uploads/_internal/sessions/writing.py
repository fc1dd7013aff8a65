"""Write a chunk as parts; the first chunk decides the layout of the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from uploads._internal.parts import UploadPlan, update_crc32
from uploads._internal.sessions.admission import check_bounds, check_range, is_whole
from uploads._internal.sessions.rules import Chunk
from uploads._internal.stores.base import Store
from uploads._internal.transfer.lease import Lease
from uploads._internal.transfer.targets import begin_planned, plan_for, target_of
from uploads._internal.transfer.transactions import release_pooled_connection
from uploads._internal.transfer.writer import PartWriter
from uploads.models import Fragment, Mode, UploadSession

ESTIMATE = 64 * 2**10
"""Granularity of a chunk's size that is estimated from its form, in bytes.

The form's size is rounded down to a multiple of it, because the form's framing is smaller than that.
"""


def open_writer(lease: Lease, store: Store, chunk: Chunk) -> PartWriter:
    """Return a writer that continues after the stored bytes of the session that ``lease`` holds."""
    session, plan = lease.session, lease.session.plan
    before: Sequence[Fragment] = ()
    if plan and not store.writes_anywhere and session.bytes_stored % plan.part_size:
        start = session.bytes_stored - session.bytes_stored % plan.part_size
        before = list(session.fragments.filter(offset__gte=start))
    return PartWriter(
        lease.threads,
        session,
        store,
        offset=session.bytes_stored,
        target=lambda segment: target_of(session, store, segment, lease.confirm),
        dirty=lease.dirty,
        decide=lambda size: session.plan or _decide(lease, store, chunk, size),
        before=before,
    )


def _decide(lease: Lease, store: Store, chunk: Chunk, size: int | None) -> UploadPlan:
    """Decide the plan of the file with its first chunk, and begin the upload.

    ``size`` is the size of the chunk in bytes, if known.
    """
    session = lease.session
    if size is None:
        size = chunk.size if chunk.size is not None else (chunk.at_most or 0) // ESTIMATE * ESTIMATE
    is_file = chunk.is_last or is_whole(session, size)
    plan = plan_for(session, store, None if is_file else size)
    largest = session.file_size if session.size_known else min(session.file_size, store.largest_upload(plan))

    def save(upload_id: str) -> bool:
        lease.decide(plan, upload_id, mode=Mode.SEQUENTIAL, file_size=largest)
        return True

    begin_planned(session, store, plan, save)
    return plan


def without_connection(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the blocks of a chunk that needs no lease.

    The database connection goes back to its pool during the wait for each block.
    """
    while True:
        release_pooled_connection()
        block = next(blocks, None)
        if block is None:
            return
        yield block


def write_chunk(writer: PartWriter, session: UploadSession, chunk: Chunk, blocks: Iterator[bytes]) -> tuple[int, int]:
    """Write the chunk's blocks as they arrive; return their number of bytes and their CRC-32.

    Bytes beyond the end of the file are not stored. They are only added to the CRC-32, which reveals a duplicate of the
    last chunk.
    """
    size = 0
    crc32: int | None = None
    room = session.file_size - (0 if session.mode == Mode.NUMBERED else session.bytes_stored)
    for block in blocks:
        inside, behind = block[: max(0, room - size)], block[max(0, room - size) :]
        if inside:
            writer.write(inside)
        if behind:
            crc32 = update_crc32(behind, writer.crc32 if crc32 is None else crc32)
        size += len(block)
        check_bounds(session, chunk, size)
    check_range(session, chunk, size)
    return size, writer.crc32 if crc32 is None else crc32


def delete_rows(fragments: Sequence[Fragment]) -> None:
    if fragments:
        Fragment.objects.filter(pk__in=[fragment.pk for fragment in fragments]).delete()
