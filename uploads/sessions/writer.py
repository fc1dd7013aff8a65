"""From a stream of bytes to parts in the store, with at most two part buffers."""

from __future__ import annotations

import zlib
from concurrent.futures import Future

from uploads.models import UploadPart, UploadSession
from uploads.parts import minimum_part_size
from uploads.sessions.lease import Lease
from uploads.stores.base import Store, Upload


class PartWriter:
    """Cuts what is written into parts and stores each while the next one arrives.

    A full part waits until the bytes behind it are enough for a part of their own, and takes them in if
    the stream ends first: so no remainder is ever below the store's minimum because of where parts were cut.
    """

    def __init__(self, lease: Lease, store: Store, *, offset: int) -> None:
        session = lease.session
        self.lease = lease
        self.store = store
        self.upload = upload_of(session)
        self.offset = offset
        self.part_size = session.part_size
        self.minimum = minimum_part_size(session.file_size, store.min_part_size)
        self.parts: list[UploadPart] = []
        self._filling = bytearray()
        self._held: bytearray | None = None
        self._under_way: tuple[UploadPart, Future[tuple[int, str]]] | None = None

    def write(self, block: bytes) -> None:
        """Take ``block`` in; blocks while the store is slower than the client."""
        view = memoryview(block)
        while view:
            if len(self._filling) == self.part_size:
                self._hold_back()
            taken = view[: self.part_size - len(self._filling)]
            self._filling += taken
            view = view[len(taken) :]
            if self._held is not None and len(self._filling) >= self.minimum:
                self._send(self._held)
                self._held = None

    def finish(self, *, last: bool) -> bytearray:
        """Store what is left and return the bytes that are too few for a part; ``last`` parts may be small."""
        rest, self._filling = self._filling, bytearray()
        if self._held is not None:
            self._held += rest
            rest, self._held = self._held, None
        if last or len(rest) >= self.minimum:
            self._send(rest)
            rest = bytearray()
        self._finish_part()
        return rest

    def _hold_back(self) -> None:
        self._finish_part()
        self._held, self._filling = self._filling, bytearray()

    def _send(self, data: bytearray) -> None:
        self._finish_part()
        part = UploadPart(
            session=self.lease.session, offset=self.offset, size=len(data), number=self.lease.take_number()
        )
        self.offset += part.size
        self._under_way = part, self.lease.start(self._put, part.number, part.offset, data)

    def _put(self, number: int, offset: int, data: bytearray) -> tuple[int, str]:
        crc32 = zlib.crc32(data)
        with self.store.writing(self.upload):
            self.lease.check()
            etag = self.store.put_part(self.upload, number=number, offset=offset, data=data, crc32=crc32)
        return crc32, etag

    def _finish_part(self) -> None:
        if self._under_way:
            part, future = self._under_way
            self._under_way = None
            part.crc32, part.etag = self.lease.finish(future)
            self.parts.append(part)


def upload_of(session: UploadSession) -> Upload:
    return Upload(session.object_name, session.upload_id)
