"""Split a stream of bytes into parts and store them.

One buffer is being filled; each part under way has a buffer of its own.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import cache
from typing import Self, TypeVar

from uploads._internal import conf
from uploads._internal.causes import cause_of
from uploads._internal.parts import UploadPlan, combine_crc32, update_crc32
from uploads._internal.stores.base import Store, Upload
from uploads._internal.stores.buffer import Buffer
from uploads._internal.stores.names import fragment_of
from uploads._internal.transfer.deadlines import call_with_timeout
from uploads._internal.transfer.dirty import DirtyParts
from uploads._internal.transfer.memory import MemoryReservation
from uploads._internal.transfer.threads import StoreThreads
from uploads._internal.transfer.transactions import Error, took_effect
from uploads.exceptions import StoreUnavailable, UploadError
from uploads.models import Fragment, UploadPart, UploadSession

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Stored = UploadPart | Fragment

FRAMING = 2**20
"""Maximum number of bytes that a protocol adds around the chunk in a body."""


class PartWriter:
    """Split a stream at part borders, and store each part while the next arrives.

    Bytes that do not make a part, or that fall into a dirty part, become fragments.
    """

    def __init__(
        self,
        threads: StoreThreads,
        session: UploadSession,
        store: Store,
        *,
        offset: int,
        target: Callable[[int], Upload],
        dirty: DirtyParts,
        decide: Callable[[int | None], UploadPlan | None],
        chunk: int = 0,
        before: Sequence[Fragment] = (),
    ) -> None:
        """Write from byte ``offset`` of the file on, into the ``target`` of each segment.

        ``decide`` returns the plan. It is called when the first buffer is full, or at the end with the number of bytes.
        Without a plan, all bytes become fragments.

        ``chunk`` is the number of a chunk whose position may be unknown until then: ``offset`` is 0, and ``decide``
        calls ``start_at``. ``before`` are the fragments of the part that contains ``offset``.
        """
        self.threads, self.right = threads, threads.right
        self.session, self.store = session, store
        self.target = cache(target)
        self.dirty = dirty
        self.before = before
        self._taken: Sequence[Fragment] = ()
        self._crc32 = 0
        self.plan: UploadPlan | None = None
        self.size = 0
        """Number of bytes written."""
        self.stored: list[Stored] = []
        self._decide = decide
        self.is_decided = False
        """True if bytes go to the store from now on."""
        self._buffer_size = max(conf.current().PART_SIZE, store.min_part_size)
        self._chunk, self._base = chunk, 0
        self._start = offset
        self._memory = MemoryReservation()
        self._filling = Buffer()
        self._under_way: deque[tuple[Stored, Future[str]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """After a failure, delete the fragments: rows are committed later, so none names them."""
        if kind is not None:
            self.threads.settle()
            # The error's traceback keeps this writer alive until the next garbage collection.
            self._filling.clear()
        self._memory.close()
        if kind is not None:
            delete_fragments(self.store, [*self.stored, *(row for row, _ in self._under_way)])

    def start_at(self, offset: int) -> None:
        """Place a numbered chunk in the file; called by ``decide``."""
        self._base = offset
        self._start += offset

    @property
    def crc32(self) -> int:
        """The CRC-32 of all bytes written."""
        return combine_crc32(self._crc32, self._filling.crc32, len(self._filling))

    def write(self, block: bytes) -> None:
        """Write ``block``; wait while the store is slower than the client."""
        self.right.renew()
        self._memory.grow(len(block), self.right.renew)
        self.size += len(block)
        if not self.is_decided:
            if self.size <= self._buffer_size:
                self._filling.append(memoryview(block))
                return
            self.decide()
        self._cut(memoryview(block))

    def decide(self, size: int | None = None) -> None:
        """Get the plan, unless it is known.

        ``size`` is the number of all bytes, if they have ended.
        """
        if self.is_decided:
            return
        self.is_decided = True
        self.plan = self._decide(size)
        filled, self._filling = self._filling, Buffer()
        if len(filled) <= self._room:
            self._filling = filled
            self._flush_full()
        else:
            for view in filled:
                self._cut(view)

    def finish(self, *, last: bool) -> list[Stored]:
        """Store the remaining bytes and return what is stored.

        The ``last`` part of a file may be small or empty.
        """
        if self.size or last:
            self.decide(self.size)
            if self._filling or (last and self.plan and not self._start):
                self._flush(last=last)
        self._finish_calls(0)
        self._sync()
        return self.stored

    def take_stored(self) -> list[Stored]:
        """Return what has been stored so far, in order, and leave it to the caller."""
        while self._under_way and self._under_way[0][1].done():
            self._finish_calls(len(self._under_way) - 1)
        self._sync()
        stored, self.stored = self.stored, []
        return stored

    def replaced_by(self, stored: Sequence[Stored]) -> list[Fragment]:
        """Return the fragments that became part of the first of these parts."""
        first = stored[0] if stored else None
        if not isinstance(first, UploadPart):
            return []
        return [fragment for fragment in self._taken if first.offset <= fragment.offset < first.offset + first.size]

    @property
    def _room(self) -> int:
        """Number of bytes until the next border."""
        filled = len(self._filling)
        if self.plan is None:
            return self._buffer_size - filled
        if self.store.writes_anywhere:
            return self.plan.part_size - filled
        return self.plan.border(self._start) - self._start - filled

    def _cut(self, view: memoryview) -> None:
        while view:
            taken = view[: self._room]
            self._filling.append(taken)
            view = view[len(taken) :]
            self._flush_full()

    def _flush_full(self) -> None:
        if not self._room:
            self._flush(last=False)

    def _flush(self, *, last: bool) -> None:
        is_whole = last or not self._room
        start, data, self._crc32 = self._start, self._filling, self.crc32
        self._start, self._filling = start + len(data), Buffer()
        if self.plan is None or (self.store.writes_anywhere and self._chunk):
            self._put_fragment(start, data)
        elif self.store.writes_anywhere:
            self._put_part(self.plan, start, data)
        else:
            self._put(self.plan, start, data, is_whole=is_whole)

    def _put(self, plan: UploadPlan, start: int, data: Buffer, *, is_whole: bool) -> None:
        """Store the bytes as a part, or as a fragment if they make none.

        The fragments before them complete a part. No other request may write to that part.
        """
        index = plan.index(start)
        missing = start - index * plan.part_size
        is_part = is_whole and missing <= sum(fragment.size for fragment in self.before)
        if not (is_part and self.dirty.claim(index)):
            self._put_fragment(start, data)
            return
        if missing:
            joined = Buffer()
            for fragment in self.before:
                for block in read_fragment(self.store, fragment):
                    self._memory.grow(len(block), self.right.renew)
                    joined.append(memoryview(block))
            joined.extend(data)
            start, data = start - missing, joined
            self._taken, self.before = self.before, ()
        self._put_part(plan, start, data)

    def _put_part(self, plan: UploadPlan, start: int, data: Buffer) -> None:
        self._finish_calls(self.threads.count - 1)
        index = plan.index(start)
        upload = self.target(plan.segment(index))
        part = UploadPart(session=self.session, offset=start, size=len(data), crc32=data.crc32)

        def put() -> str:
            clear = False
            try:
                with self.store.writing(upload):
                    self.right.check()
                    etag, clear = self.store.put_part(upload, number=plan.number(index), offset=start, data=data)
                return etag
            except UploadError as error:
                clear = not (isinstance(error, StoreUnavailable) and error.unknown)
                raise
            finally:
                if clear:
                    self.dirty.settle(index)

        if self.store.late_writes:
            self.dirty.begin(index)
        self._begin(part, put, data)

    def _put_fragment(self, start: int, data: Buffer) -> None:
        if not data:
            return  # The part of an empty file needs no fragment; ``completing`` writes it.
        self._finish_calls(self.threads.count - 1)
        name = fragment_of(self.session.object_name, self.session.name_signature)
        fragment = Fragment(
            session=self.session,
            chunk=self._chunk,
            offset=start - self._base,
            size=len(data),
            crc32=data.crc32,
            name=name,
        )

        def put() -> str:
            self.store.put_fragment(name, data, encrypted=self.session.encrypted)
            return ""

        self._begin(fragment, put, data)

    def _begin(self, row: Stored, put: Callable[[], str], data: Buffer) -> None:
        def call() -> str:
            try:
                return put()
            finally:
                data.clear()  # boto3 keeps a request's body until the next garbage collection.
                self._memory.shrink(len(data))

        self._under_way.append((row, self.threads.start(call)))

    def _finish_calls(self, left: int) -> None:
        """Wait until at most ``left`` calls are under way."""
        while len(self._under_way) > left:
            row, future = self._under_way[0]
            etag = self.threads.finish(future)
            if isinstance(row, UploadPart):
                row.etag = etag
            self._under_way.popleft()
            self.stored.append(row)

    def _sync(self) -> None:
        if self.plan and any(isinstance(row, UploadPart) for row in self.stored):
            self.threads.call(self.store.sync, self.target(self.plan.segment(self.plan.index(self.stored[0].offset))))


def read_fragment(store: Store, fragment: Fragment) -> Iterator[bytes]:
    """Yield the fragment's bytes; raise StoreUnavailable after the last if their CRC-32 is wrong."""
    crc32 = 0
    blocks = iter(store.read(fragment.name))
    while (block := call_with_timeout(next, blocks, None)) is not None:
        crc32 = update_crc32(block, crc32)
        yield block
    if crc32 != fragment.crc32:
        logger.error("session %s: the store returned other bytes for %s", fragment.session.label, fragment.name)
        raise StoreUnavailable


def save_stored(stored: Iterable[Stored]) -> None:
    """Save the rows of what is stored."""
    rows = list(stored)
    for model in (UploadPart, Fragment):
        if found := [row for row in rows if isinstance(row, model)]:
            model.objects.bulk_create(found)


def parts_among(stored: Iterable[Stored]) -> list[UploadPart]:
    return [row for row in stored if isinstance(row, UploadPart)]


def commit_stored(
    store: Store, session: UploadSession, stored: Sequence[Stored], commit: Callable[[], Result]
) -> Result | None:
    """Run ``commit``, which saves the rows; delete the fragments if it certainly had no effect.

    If the answer to the COMMIT was lost, its outcome is queried. The result is None if it took effect.
    """
    try:
        return commit()
    except Error:
        if took_effect(session, stored):
            logger.warning("session %s: the answer to a COMMIT was lost, but it took effect", session.label)
            return None
        delete_fragments(store, stored)
        raise
    except BaseException:
        delete_fragments(store, stored)
        raise


def delete_fragments(store: Store, stored: Iterable[Stored]) -> None:
    delete_quietly(store, [row.name for row in stored if isinstance(row, Fragment)])


def delete_quietly(store: Store, names: Collection[str]) -> None:
    """Delete objects that no row names any more; log a failure."""
    try:
        if names:
            call_with_timeout(store.delete, names)
    except UploadError as error:
        logger.warning("could not delete %s: %s", names, cause_of(error))
