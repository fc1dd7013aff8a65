"""Make parts of fragments.

A fragment holds bytes that were too few for a part, or that fell into a dirty part.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from functools import partial, reduce
from itertools import groupby
from typing import Any

from uploads._internal.parts import UploadPlan, combine_crc32
from uploads._internal.stores.base import Store
from uploads._internal.transfer.deadlines import call_with_timeout
from uploads._internal.transfer.dirty import DirtyParts
from uploads._internal.transfer.lease import Lease
from uploads._internal.transfer.targets import target_of
from uploads._internal.transfer.threads import StoreThreads
from uploads._internal.transfer.transactions import durable
from uploads._internal.transfer.writer import PartWriter, Stored, commit_stored, parts_among, read_fragment, save_stored
from uploads.models import Fragment, NumberedChunk, Segment, UploadSession

COMMIT_EVERY = 1.0
"""Seconds between two commits of new parts: this much work is repeated after a failure."""
BATCH = 500


def whole_crc32(rows: Iterable[Stored | NumberedChunk | Segment]) -> int:
    """Return the CRC-32 of the rows' bytes, joined in the order of the rows; that of each row is known."""
    return reduce(lambda crc32, row: combine_crc32(crc32, row.crc32 or 0, row.size or 0), rows, 0)


def placed_fragments(session: UploadSession) -> list[tuple[int, Fragment]]:
    """Return the fragments in the order of the file, with their offsets in it."""
    bases, end = {0: 0}, 0
    for chunk in session.numbered_chunks.filter(crc32__isnull=False).order_by("number"):
        bases[chunk.number], end = end, end + (chunk.size or 0)
    placed = [(bases[fragment.chunk] + fragment.offset, fragment) for fragment in session.fragments.all()]
    return sorted(placed, key=lambda item: item[0])


def make_parts(lease: Lease, store: Store, plan: UploadPlan) -> None:
    """Write the parts whose bytes are fragments; keep the fragments.

    A repeated call continues where the last one stopped.
    """
    session = lease.session
    fragments = placed_fragments(session)
    starts = [at for at, _ in fragments]
    missing = _copy_parts(lease, store, plan, fragments, _missing(session, plan, fragments))
    if not session.file_size and not session.parts.exists():
        missing = [0]  # An upload has at least one part.
    for _, run in groupby(enumerate(missing), lambda item: item[1] - item[0]):
        indexes = [index for _, index in run]
        start = indexes[0] * plan.part_size
        end = min(session.file_size, (indexes[-1] + 1) * plan.part_size)
        inside = fragments[max(0, bisect_right(starts, start) - 1) : bisect_left(starts, end)]
        _write_run(lease, store, plan, start, end, inside)


def _missing(session: UploadSession, plan: UploadPlan, fragments: list[tuple[int, Fragment]]) -> list[int]:
    """Return the indexes of the parts that overlap fragments and are not written yet."""
    finished = set(session.segments.filter(size__isnull=False).values_list("index", flat=True))
    touched = {
        index
        for at, fragment in fragments
        for index in range(plan.index(at), plan.index(at + fragment.size - 1) + 1)
        if not finished or plan.segment(index) not in finished
    }
    waiting = sorted(touched)
    for start in range(0, len(waiting), BATCH):
        offsets = [index * plan.part_size for index in waiting[start : start + BATCH]]
        touched -= {plan.index(at) for at in session.parts.filter(offset__in=offsets).values_list("offset", flat=True)}
    return sorted(touched)


def _copy_parts(
    lease: Lease, store: Store, plan: UploadPlan, fragments: list[tuple[int, Fragment]], missing: list[int]
) -> list[int]:
    """Let the store copy each part that lies within one partial upload; return the indexes of all others."""
    session = lease.session
    if not session.partials or not store.composes:
        return missing
    starts = [at for at, _ in fragments]

    def source(index: int) -> dict[str, Any] | None:
        """Return the arguments of the copy, None if no single object has all bytes of the part."""
        start, end = index * plan.part_size, min(session.file_size, (index + 1) * plan.part_size)
        at, fragment = fragments[bisect_right(starts, start) - 1]
        whole = fragment.size == end - start
        # S3 copies no ranges of objects up to 5 MiB.
        if at + fragment.size < end or not (whole or fragment.size > plan.part_size):
            return None
        return {"source": fragment.name, "start": start - at, "size": end - start, "whole": whole}

    found = {index: arguments for index in missing if (arguments := source(index))}
    calls = (
        partial(
            store.copy_part,
            target_of(session, store, plan.segment(index), lease.confirm),
            number=plan.number(index),
            **arguments,
        )
        for index, arguments in found.items()
    )
    for index, part in zip(found, lease.threads.each(calls), strict=True):
        with durable():
            lease.commit(keep=True)
            session.parts.create(offset=index * plan.part_size, size=part.size, crc32=part.crc32, etag=part.etag)
    return [index for index in missing if index not in found]


def _read(store: Store, fragment: Fragment, start: int, end: int, *, verified: bool) -> Iterator[bytes]:
    """Yield the fragment's bytes from ``start`` to ``end``; read all of it if it is to be verified."""
    if not verified and end - start < fragment.size:
        blocks = iter(store.read(fragment.name, start=start, size=end - start))
        while (block := call_with_timeout(next, blocks, None)) is not None:
            yield block
        return
    position = 0
    for block in read_fragment(store, fragment):
        yield block[max(0, start - position) : max(0, end - position)]
        position += len(block)


def _write_run(
    lease: Lease, store: Store, plan: UploadPlan, start: int, end: int, inside: list[tuple[int, Fragment]]
) -> None:
    """Write the adjacent parts from byte ``start`` to byte ``end``."""
    session, committed = lease.session, time.monotonic()
    is_joined = bool(session.partials)  # They may be large, and the whole file is verified instead.
    threads = StoreThreads(lease, count=lease.threads.count)
    threads.deadline = lease.threads.deadline

    def commit(stored: list[Stored]) -> None:
        def save() -> None:
            with durable():
                lease.commit(keep=True)
                save_stored(stored)

        if parts_among(stored):
            commit_stored(store, session, stored, save)

    def commit_if_due() -> None:
        nonlocal committed
        if time.monotonic() - committed > COMMIT_EVERY:
            committed = time.monotonic()
            commit(writer.take_stored())

    writer = PartWriter(
        threads,
        session,
        store,
        offset=start,
        target=lambda segment: target_of(session, store, segment, lease.confirm),
        dirty=DirtyParts(),
        decide=lambda _: plan,
    )
    try:
        with writer:
            writer.decide()
            for at, fragment in inside:
                inner = max(0, start - at), min(fragment.size, end - at)
                for block in _read(store, fragment, *inner, verified=not is_joined):
                    if block:
                        writer.write(block)
                    if is_joined:
                        commit_if_due()
                commit_if_due()
            commit(writer.finish(last=end == session.file_size))
    finally:
        threads.settle()
