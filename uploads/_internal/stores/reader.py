"""Read a finished object as a seekable file, keeping at most one block in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from uploads._internal.stores.base import Store

BLOCK = 2**20


def open_object(store: Store, name: str, size: int) -> io.BufferedReader:
    """Open the object ``name`` of ``size`` bytes for reading.

    Reads raise StoreUnavailable while the store is unavailable.
    """
    return io.BufferedReader(_Reader(store, name, size), BLOCK)


class _Reader(io.RawIOBase):
    def __init__(self, store: Store, name: str, size: int) -> None:
        self._store, self._object, self._size = store, name, size
        self._position = 0
        self._blocks: Iterator[bytes] | None = None
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        position = max(0, start + offset)
        if position != self._position:
            self._blocks, self._rest, self._position = None, memoryview(b""), position
        return position

    def readinto(self, buffer: Any, /) -> int:
        if self._position >= self._size:
            return 0
        if self._blocks is None:
            self._blocks = self._store.read(self._object, start=self._position, size=self._size - self._position)
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        target = memoryview(buffer).cast("B")
        taken = min(len(target), len(self._rest))
        target[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        self._position += taken
        return taken
