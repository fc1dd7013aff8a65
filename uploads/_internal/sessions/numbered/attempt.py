"""Receive numbered chunks, in any order and concurrently.

A chunk replaces an earlier one with the same number; ``finalize`` completes the file.

All chunks but the last have one size. As soon as that size is known, a chunk's position in the file follows from its
number. Until then, chunks are kept as fragments.

There is no lease: several requests write at once, and the commit of a chunk's row decides. The first attempt at a chunk
records on that row the parts that it writes. All other attempts keep the bytes of these parts as fragments, so no
attempt damages another.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from django.db import Error
from django.utils import timezone

from uploads._internal import conf, parts
from uploads._internal.parts import UploadPlan
from uploads._internal.sessions.admission import check_bounds, check_open, size_error
from uploads._internal.sessions.rules import Chunk
from uploads._internal.sessions.writing import without_connection, write_chunk
from uploads._internal.stores.base import Store
from uploads._internal.transfer.dirty import DirtyParts
from uploads._internal.transfer.lease import PARTS_AHEAD, extended_expiry, fresh_expiry, renewal_interval
from uploads._internal.transfer.targets import begin_planned, plan_for, target_of
from uploads._internal.transfer.threads import StoreThreads
from uploads._internal.transfer.transactions import durable, reconnect
from uploads._internal.transfer.writer import (
    PartWriter,
    Stored,
    commit_stored,
    delete_quietly,
    parts_among,
    save_stored,
)
from uploads.exceptions import ChunkSizeDiffers, EmptyChunk
from uploads.models import Fragment, Mode, NumberedChunk, UploadSession


class Attempt:
    """One request with a numbered chunk; others run concurrently, even for the same number."""

    def __init__(self, session: UploadSession, store: Store, chunk: Chunk, number: int) -> None:
        self.session, self.store, self.chunk, self.number = session, store, chunk, number
        self.threads = StoreThreads(self, count=conf.current().PARALLEL_PARTS)
        self.dirty = DirtyParts(note=self._claim)
        self.writer: PartWriter | None = None
        self._inside = range(0)
        """Indexes of the parts that lie entirely within this chunk."""
        self._own: set[int] = set()
        """The subset of them that the chunk's row assigns to this attempt."""
        self._renewed = time.monotonic()
        self._prolong(within=2 * renewal_interval())

    def renew(self) -> None:
        """Keep the session from expiring while the chunk arrives."""
        if time.monotonic() - self._renewed > renewal_interval():
            self._renewed = time.monotonic()
            self._prolong()

    def check(self) -> None:
        """Do nothing: no other attempt writes to the same parts."""

    def _prolong(self, *, within: float = float("inf")) -> None:
        if values := extended_expiry(self.session, within=within):
            UploadSession.objects.open().filter(pk=self.session.pk).update(**values)

    def store_chunk(self) -> int:
        """Store and commit the chunk; return its size in bytes."""
        try:
            return self._store_chunk()
        except BaseException:
            self.threads.settle()
            self._give_up()
            raise
        finally:
            self.threads.settle()

    def _store_chunk(self) -> int:
        session, chunk = self.session, self.chunk
        if chunk.size is not None:
            check_bounds(session, chunk, chunk.size)
            self._require_size(chunk.size)
        with PartWriter(
            self.threads,
            session,
            self.store,
            offset=0,
            target=lambda segment: target_of(session, self.store, segment, self._require_open),
            dirty=self.dirty,
            decide=self._decide,
            chunk=self.number,
        ) as writer:
            self.writer = writer
            size, crc32 = write_chunk(writer, session, chunk, without_connection(chunk.blocks))
            self._require_size(size)
            if not (size or session.size_known):
                raise EmptyChunk
            if not self._may_be_last(size):
                chunk.rules.require(size)
            if not writer.is_decided and self._is_stored(size, crc32):
                return size
            writer.decide(size)
            ends_at = (self.number - 1) * (session.chunk_size or 0) + size
            last = session.size_known and (ends_at == session.file_size or size == session.file_size)
            stored = writer.finish(last=last)
        gone: list[str] = []
        commit_stored(self.store, session, stored, lambda: gone.extend(self._commit(stored, size, crc32)))
        delete_quietly(self.store, gone)
        return size

    def _decide(self, size: int | None) -> UploadPlan | None:
        """Place the chunk in the file; return None while the size of chunks is unknown."""
        size = self.chunk.size if size is None else size
        with durable():
            locked, row = self._require_open(), self._row()
            self._adopt_layout(locked)
            if locked.layout:
                return self._place(row, size)
            if size and row.crc32 is None and row.size != size:
                row.size = size
                row.save(update_fields=["size"])
            sizes = {row.number: row.size or 0 for row in locked.numbered_chunks.filter(size__gt=0)}
        chunk_size = parts.size_of_chunks(locked.file_size if locked.size_known else None, sizes)
        if chunk_size is None:
            return None
        if size is not None:
            self._require_size(size, chunk_size)
        plan = plan_for(locked, self.store, chunk_size)
        layout = plan.as_json() | {"chunk_size": chunk_size}
        begin_planned(locked, self.store, plan, lambda upload_id: self._save_layout(plan, layout, upload_id))
        with durable():
            self._require_open()
            return self._place(self._row(), size)

    def _save_layout(self, plan: UploadPlan, layout: dict[str, int], upload_id: str) -> bool:
        """Save the layout unless another request has saved one; return whether this call saved it."""
        with durable():
            locked = self._require_open()
            if locked.layout:
                self._adopt_layout(locked)
                return False
            values: dict[str, Any] = {"layout": layout, "upload_id": upload_id, "mode": Mode.NUMBERED}
            if not locked.size_known:
                largest = values["file_size"] = min(locked.file_size, self.store.largest_upload(plan))
                if locked.bytes_stored > largest:
                    locked.file_size = largest
                    raise size_error(locked, 0)
            if locked.mode == Mode.UNDECIDED:
                values["fence"] = locked.fence + 1  # A sequential writer that is active now loses the session.
            UploadSession.objects.filter(pk=locked.pk).update(**values)
        for name, value in values.items():
            setattr(self.session, name, value)
        return True

    def _place(self, row: NumberedChunk, size: int | None) -> UploadPlan | None:
        """Place the chunk in the file and select the parts that it may write.

        These are the parts entirely within the chunk; none if the chunk is already stored.
        """
        session, plan, writer = self.session, self.session.plan, self.writer
        if plan is None or session.chunk_size is None or writer is None:
            return None
        if size is not None:
            self._require_size(size)
            if row.crc32 is not None and not session.size_known and size < (row.size or 0):
                # Parts beyond the new end would stay in the upload, and some stores refuse to complete it then.
                raise ChunkSizeDiffers(number=self.number, size=size, expected=row.size)
        start = (self.number - 1) * session.chunk_size
        writer.start_at(start)
        end = min(session.file_size, start + (session.chunk_size if size is None else size))
        is_last = session.size_known and end == session.file_size
        if row.crc32 is None:
            self._inside = range(-(-start // plan.part_size), plan.index(end) + is_last)
        self.dirty.others = frozenset(row.dirty_parts)
        return plan

    def _claim(self, index: int) -> bool:
        """Reserve the next parts on the chunk's row; return whether this attempt may write ``index``.

        Parts that another attempt has reserved are skipped.
        """
        if index in self._own:
            return True
        if index not in self._inside:
            return False
        with durable():
            self._require_open()
            row = self._row()
            if row.crc32 is not None:
                return False
            taken = set(row.dirty_parts) - self._own
            self._own |= {part for part in self._inside[self._inside.index(index) :][:PARTS_AHEAD] if part not in taken}
            row.dirty_parts = sorted(taken | self._own)
            row.save(update_fields=["dirty_parts"])
        return index in self._own

    def _adopt_layout(self, row: UploadSession) -> None:
        """Copy layout, upload id and file size, which another request may have decided."""
        self.session.layout, self.session.upload_id = row.layout, row.upload_id
        self.session.file_size = row.file_size

    def _require_open(self) -> UploadSession:
        locked: UploadSession = UploadSession.objects.select_for_update().get(pk=self.session.pk)
        check_open(locked, Mode.NUMBERED)
        return locked

    def _row(self) -> NumberedChunk:
        return self.session.numbered_chunks.get_or_create(number=self.number)[0]

    def _require_size(self, size: int, expected: int | None = None) -> None:
        """Raise ChunkSizeDiffers unless this chunk may have ``size`` bytes.

        All chunks but the last have ``expected`` bytes.
        """
        session, expected = self.session, expected or self.session.chunk_size
        if expected is None or size == expected:
            return
        start = (self.number - 1) * expected
        if session.size_known and start + size > session.file_size:
            raise size_error(session, max(0, session.file_size - start))
        is_last = start + size == session.file_size or not session.size_known
        if size > expected or not is_last:  # A longer chunk would overlap the next one.
            raise ChunkSizeDiffers(number=self.number, size=size, expected=expected)

    def _may_be_last(self, size: int) -> bool:
        """Return whether the chunks before this one can make up the rest of the file."""
        session = self.session
        if not session.size_known:
            return True
        if self.number == 1:
            return size == session.file_size
        return (self.number - 1) * self.chunk.rules.least + size <= session.file_size

    def _is_stored(self, size: int, crc32: int) -> bool:
        return self.session.numbered_chunks.filter(number=self.number, size=size, crc32=crc32).exists()

    def _commit(self, stored: list[Stored], size: int, crc32: int) -> list[str]:
        """Make the stored bytes the content of the chunk; return the fragments no longer needed."""
        session, plan = self.session, self.session.plan
        with durable():
            locked = self._require_open()
            self._adopt_layout(locked)
            self._require_size(size)
            row = self._row()
            before = row.size or 0 if row.crc32 is not None else 0
            bytes_stored = locked.bytes_stored - before + size
            if bytes_stored > locked.file_size:
                raise size_error(session, locked.file_size - locked.bytes_stored)
            same = (row.size, row.crc32) == (size, crc32) and not parts_among(stored)
            written = [plan.index(part.offset) for part in parts_among(stored)] if plan else []
            row.dirty_parts = self._remaining_dirty(row, but=written)
            if same:
                gone = [fragment.name for fragment in stored if isinstance(fragment, Fragment)]
            else:
                gone = [] if row.crc32 is None else self._remove()
                save_stored(stored)
                row.size, row.crc32 = size, crc32
            row.save()
            now = timezone.now()
            values: dict[str, Any] = {
                "bytes_stored": bytes_stored,
                "updated_at": now,
                "expires_at": fresh_expiry(),
                "mode": Mode.NUMBERED,
            }
            if locked.mode == Mode.UNDECIDED:
                values["fence"] = locked.fence + 1  # A sequential writer that is active now loses the session.
            UploadSession.objects.filter(pk=session.pk).update(**values)
        for name, value in values.items():
            setattr(session, name, value)
        return gone

    def _remove(self) -> list[str]:
        """Delete the rows of the stored chunk; return the names of its fragments."""
        session = self.session
        fragments = session.fragments.filter(chunk=self.number)
        gone = list(fragments.values_list("name", flat=True))
        fragments.delete()
        if session.chunk_size is not None:
            start = (self.number - 1) * session.chunk_size
            session.parts.filter(offset__gte=start, offset__lt=start + session.chunk_size).delete()
        return gone

    def _remaining_dirty(self, row: NumberedChunk, *, but: Collection[int] = ()) -> list[int]:
        """Return the parts that stay dirty after this attempt, with the parts ``but`` stored."""
        return sorted({*row.dirty_parts} - self._own | {*self.dirty.left(but=but)} & self._own)

    def _give_up(self) -> None:
        """Remove this attempt's parts from the row, except parts that a late write may reach."""
        if not self._own:
            return
        try:
            reconnect()
            with durable():
                row = NumberedChunk.objects.select_for_update().get(session=self.session, number=self.number)
                row.dirty_parts = self._remaining_dirty(row)
                row.save(update_fields=["dirty_parts"])
        except (Error, NumberedChunk.DoesNotExist):
            return  # The parts stay dirty, so their bytes are kept as fragments.
