"""From a stream of bytes to parts in the store, with a buffer that fills and one for each part under way."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Self, TypeVar

from uploads.exceptions import StoreUnavailable, UploadError, cause_of
from uploads.models import UploadPart, UploadSession
from uploads.parts import update_crc32
from uploads.stores.base import Store, Upload
from uploads.stores.buffer import Buffer
from uploads.stores.names import piece_of
from uploads.transfer.deadlines import waited_for
from uploads.transfer.memory import Share
from uploads.transfer.places import minimum_of
from uploads.transfer.threads import Numbers, StoreThreads
from uploads.transfer.transactions import Error, took_effect

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

FRAMING = 2**20
"""Bytes by which a body may be longer than the chunk in it: what its protocol wraps around it."""


class PartWriter:
    """Cuts what is written into parts and stores each while the next one arrives.

    A full part is stored at once if enough bytes for another are announced. Otherwise it waits until they are
    there, and takes them in if the stream ends first: so that no remainder is below the store's minimum because of
    where parts were cut. Bytes that are too few all the same (framing was announced with them), or that get no part
    number, become objects of their own: pieces.
    """

    def __init__(
        self,
        threads: StoreThreads,
        numbers: Numbers,
        session: UploadSession,
        store: Store,
        *,
        offset: int,
        expected: int | None,
        chunk: int = 0,
        before: Sequence[UploadPart] = (),
    ) -> None:
        """Write from byte ``offset`` on. ``expected`` is about how many bytes will come, if that is known.

        The pieces ``before`` it are taken in once they and what is written make a part; until then they stay.
        """
        self.threads, self.right, self.numbers = threads, threads.right, numbers
        self.session = session
        self.store = store
        self.offset = offset
        self.expected = expected or 0
        self.chunk = chunk
        self.before = before
        self.minimum = minimum_of(session, store)
        self.part_size = session.part_size
        if self.expected > self.part_size:
            # As many parts as of the planned size, but all of one size: a large last one would be waited for alone.
            # Not where framing is among what they are made of and the last one would be too small without it.
            alike = -(-self.expected // parts_made(session, store, self.expected))
            if alike >= self.minimum + FRAMING:
                self.part_size = alike
        self.written = 0
        self.parts: list[UploadPart] = []
        self._memory = Share()
        self._uploads: set[Upload] = set()
        self._filling = Buffer()
        self._held: Buffer | None = None
        self._under_way: deque[tuple[UploadPart, Future[str]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """After a failure, delete the pieces: what is committed is committed later, so no row names them."""
        if kind is not None:
            self.threads.settle()
            # The error's traceback holds this writer until the garbage collector comes by.
            self._filling.clear()
            if self._held is not None:
                self._held.clear()
        self._memory.close()
        if kind is not None:
            _delete_pieces(self.store, [*self.parts, *(part for part, _ in self._under_way)])

    def write(self, block: bytes) -> None:
        """Take ``block`` in; blocks while the store is slower than the client."""
        self.right.renew()
        self._memory.grow(len(block), self.right.renew)
        if self.before and self._size_before + len(self._filling) + len(block) >= self.minimum:
            self._take_in()
        self._cut(memoryview(block))

    @property
    def _size_before(self) -> int:
        return sum(piece.size for piece in self.before)

    def _take_in(self) -> None:
        """Read the pieces before what is written, and put them before it."""
        pieces, self.before = self.before, ()
        filled, self._filling = self._filling, Buffer()
        self.offset -= sum(piece.size for piece in pieces)
        for piece in pieces:
            for block in read_piece(self.store, piece):
                self._memory.grow(len(block), self.right.renew)
                self._cut(memoryview(block))
        for view in filled:
            self._cut(view)

    def _cut(self, view: memoryview) -> None:
        while view:
            if len(self._filling) == self.part_size:
                self._hold_back()
            taken = view[: self.part_size - len(self._filling)]
            self._filling.append(taken)
            self.written += len(taken)
            view = view[len(taken) :]
            if self._held is not None and len(self._filling) >= self.minimum:
                self._send(self._held)
                self._held = None
            elif len(self._filling) == self.part_size and self._is_followed():
                self._send(self._filling)
                self._filling = Buffer()

    def finish(self, *, last: bool) -> list[UploadPart]:
        """Store what is left and return all parts; the ``last`` part of a file may be small or empty."""
        if self.before and (last or self._size_before + len(self._filling) >= self.minimum):
            self._take_in()
        rest, self._filling = self._filling, Buffer()
        if self._held is not None:
            self._held.extend(rest)
            rest, self._held = self._held, None
        if len(rest) >= self.minimum or (last and (rest or not self.offset)):
            self._send(rest)
        elif rest:
            self._send(rest, as_piece=True)
        self._finish_parts(0)
        self._sync()
        return self.parts

    def take_stored(self) -> list[UploadPart]:
        """Return the parts that are stored by now, in order; they are the caller's from now on."""
        while self._under_way and self._under_way[0][1].done():
            self._finish_parts(len(self._under_way) - 1)
        self._sync()
        stored, self.parts = self.parts, []
        return stored

    def _sync(self) -> None:
        if any(part.number for part in self.parts):
            for upload in self._uploads:
                self.threads.call(self.store.sync, upload)

    @property
    def numbered_size(self) -> int:
        """The bytes of parts that the store has or may have."""
        return sum(part.size for part in (*self.parts, *(part for part, _ in self._under_way)) if part.number)

    def _hold_back(self) -> None:
        if self._held is not None:
            message = f"a part of {len(self._held)} bytes is held already: the minimum is {self.minimum}"
            raise RuntimeError(message)
        self._held, self._filling = self._filling, Buffer()

    def _is_followed(self) -> bool:
        """Tell whether enough bytes for another part are announced."""
        return self._held is None and self.expected - self.written >= self.minimum

    def _send(self, data: Buffer, *, as_piece: bool = False) -> None:
        number = None if as_piece else self.numbers.take(self.offset, len(data))
        self._finish_parts(self.threads.count - 1)
        piece = "" if number else piece_of(self.session.object_name, self.session.mark)
        part = UploadPart(
            session=self.session,
            chunk=self.chunk,
            offset=self.offset,
            size=len(data),
            crc32=data.crc32,
            number=number,
            segment=self.numbers.place.segment if number else 0,
            piece=piece,
        )
        self.offset += part.size
        upload = self.numbers.place.upload
        self._uploads.add(upload)
        self._under_way.append((part, self.threads.start(self._put, upload, part, data)))

    def _put(self, upload: Upload, part: UploadPart, data: Buffer) -> str:
        try:
            if part.number is None:
                self.store.put_piece(part.piece, data, encrypted=self.session.encrypted)
                return ""
            with self.store.writing(upload):
                self.right.check()
                return self.store.put_part(upload, number=part.number, offset=part.offset, data=data)
        finally:
            data.clear()  # boto3 keeps a request's body until the garbage collector comes by
            self._memory.shrink(len(data))

    def _finish_parts(self, left: int) -> None:
        """Wait until no more than so many parts are under way."""
        while len(self._under_way) > left:
            part, future = self._under_way[0]
            part.etag = self.threads.finish(future)
            self._under_way.popleft()
            self.parts.append(part)


def read_piece(store: Store, piece: UploadPart) -> Iterator[bytes]:
    """Yield the piece's bytes; raise StoreUnavailable after the last if they are not what was stored."""
    crc32 = 0
    blocks = iter(store.read(piece.piece))
    while (block := waited_for(next, blocks, None)) is not None:
        crc32 = update_crc32(block, crc32)
        yield block
    if crc32 != piece.crc32:
        logger.error("session %s: the store returned other bytes for %s", piece.session_id, piece.piece)
        raise StoreUnavailable


def commit_parts(
    store: Store, session: UploadSession, parts: Sequence[UploadPart], commit: Callable[[], Result]
) -> Result | None:
    """Run ``commit``, which makes rows of ``parts``; delete their pieces if it took no effect for certain.

    A lost answer to the COMMIT is looked into: None means that it took effect all the same.
    """
    try:
        return commit()
    except Error:
        if took_effect(session, parts):
            logger.warning("session %s: the answer to a COMMIT was lost, but it took effect", session.pk)
            return None
        _delete_pieces(store, parts)
        raise
    except BaseException:
        _delete_pieces(store, parts)
        raise


def _delete_pieces(store: Store, parts: Iterable[UploadPart]) -> None:
    delete_quietly(store, [part.piece for part in parts if part.piece])


def delete_quietly(store: Store, names: Collection[str]) -> None:
    """Delete objects that no row names any more; what cannot be deleted now is logged."""
    try:
        if names:
            waited_for(store.delete, names)
    except UploadError as error:
        logger.warning("could not delete %s: %s", names, cause_of(error))


def parts_made(session: UploadSession, store: Store, size: int) -> int:
    """Return how many parts a writer makes of ``size`` bytes."""
    whole, rest = divmod(size, session.part_size)
    return max(1, whole + (rest >= minimum_of(session, store)))
