"""A part on its way to a store: the blocks as they arrived, never copied together."""

from __future__ import annotations

from collections.abc import Iterator

from uploads._internal.parts import combine_crc32, update_crc32


class Buffer:
    """Bytes in memory with their CRC-32, kept as they pass. Reads like a file, a block at a time, for boto3."""

    def __init__(self, data: bytes = b"") -> None:
        self.crc32 = 0
        self._blocks: list[memoryview] = []
        self._size = 0
        self._position = 0
        if data:
            self.append(memoryview(data))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[memoryview]:
        return iter(self._blocks)

    def append(self, block: memoryview) -> None:
        self._blocks.append(block)
        self._size += len(block)
        self.crc32 = update_crc32(block, self.crc32)

    def extend(self, other: Buffer) -> None:
        self._blocks += other._blocks
        self._size += other._size
        self.crc32 = combine_crc32(self.crc32, other.crc32, other._size)

    def clear(self) -> None:
        """Let go of the bytes, whoever still holds the buffer."""
        self._blocks.clear()

    def read(self, _size: int = -1) -> memoryview | bytes:
        """Return the next block whatever its size, and nothing after the last: what sends it takes any size."""
        if self._position == len(self._blocks):
            return b""
        self._position += 1
        return self._blocks[self._position - 1]

    def tell(self) -> int:
        """Return a position for ``seek``; it does not count bytes."""
        return self._position

    def seek(self, position: int) -> None:
        self._position = position
