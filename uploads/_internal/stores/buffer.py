"""Part data in memory: the blocks as they arrived, never copied together."""

from __future__ import annotations

from collections.abc import Iterator

from uploads._internal.parts import combine_crc32, update_crc32


class Buffer:
    """Bytes in memory, with a running CRC-32.

    boto3 reads the buffer like a file, one block at a time.
    """

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
        """Release the bytes, even while other code still references the buffer."""
        self._blocks.clear()

    def read(self, _size: int = -1) -> memoryview | bytes:
        """Return the next block, or nothing after the last.

        ``_size`` is ignored, because the sender accepts blocks of any size.
        """
        if self._position == len(self._blocks):
            return b""
        self._position += 1
        return self._blocks[self._position - 1]

    def tell(self) -> int:
        """Return a position for ``seek``, counted in blocks."""
        return self._position

    def seek(self, position: int) -> None:
        self._position = position
