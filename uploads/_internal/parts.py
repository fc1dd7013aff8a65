"""The geometry of a file: parts of one size, whose numbers follow from their offsets. Pure arithmetic, no I/O.

Limits of S3 multipart uploads, from "Amazon S3 multipart upload limits" in the S3 user guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache

try:
    from zlib_ng.zlib_ng import crc32  # seven times as fast as zlib's
except ImportError:  # no wheel for this machine
    from zlib import crc32

update_crc32 = crc32
"""Return the CRC-32 of some bytes, which follow those whose CRC-32 is the second argument."""

MIN_PART_SIZE = 5 * 2**20
MAX_PART_SIZE = 5 * 2**30
MAX_PARTS = 10_000
MAX_OBJECT_SIZE = MAX_PARTS * MAX_PART_SIZE


MAX_COPY_SIZE = MAX_PART_SIZE
"""Bytes that the store copies into a part at most (S3: UploadPartCopy)."""

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31


@dataclass(frozen=True)
class UploadPlan:
    """How a file is laid out in the store: part i begins at byte i * part_size; only the last one may be shorter.

    A file of more parts than a multipart upload takes is several uploads (segments), which the store joins by copies.
    """

    part_size: int
    copy_parts: int = 0
    """Parts of a copy; 0 if the file is a single upload."""
    segment_parts: int = 0
    """Parts of a segment: whole copies."""

    @classmethod
    def of(cls, file_size: int | None, chunk_size: int | None, *, preferred: int, least: int, most: int) -> UploadPlan:
        """Return the plan for a file that is sent in chunks of ``chunk_size`` bytes, if that is known.

        ``least`` are the bytes of a part at least, ``most`` the parts of an upload at most.
        """
        part_size = divide(chunk_size, preferred, least)
        if file_size is None or file_size <= most * part_size:
            return cls(part_size)
        copy = max(1, min(most, MAX_COPY_SIZE // part_size))
        return cls(part_size, copy, most // copy * copy)

    def as_json(self) -> dict[str, int]:
        return {name: value for name, value in asdict(self).items() if value}

    def index(self, offset: int) -> int:
        """Return which part a byte of the file is in, from 0."""
        return offset // self.part_size

    def border(self, offset: int) -> int:
        """Return the first byte behind the part that a byte of the file is in."""
        return (self.index(offset) + 1) * self.part_size

    def segment(self, index: int) -> int:
        return index // self.segment_parts if self.segment_parts else 0

    def number(self, index: int) -> int:
        """Return the part number in its multipart upload, from 1."""
        return (index % self.segment_parts if self.segment_parts else index) + 1

    def largest(self, most: int) -> int:
        """Return the bytes of the largest file with this plan in a store that takes so many parts an upload."""
        return most * (self.copy_parts or 1) * self.part_size

    def segment_start(self, segment: int) -> int:
        """Return the offset of a segment in the file."""
        return segment * self.segment_parts * self.part_size


def divide(chunk: int | None, preferred: int, least: int) -> int:
    """Return the part size for chunks of a size: it divides them, so that each byte is written once.

    Of the divisors it is the nearest to the preferred size, and at most twice as large, as buffers are; without one of
    at least ``least`` it is the preferred size.
    """
    if not chunk or chunk > MAX_PARTS * preferred:
        return preferred
    counts = range(-(-chunk // (2 * preferred)), chunk // least + 1)
    fits = [chunk // count for count in counts if chunk % count == 0]
    return min(fits, key=lambda size: (abs(size - preferred), size), default=preferred)


def size_of_chunks(file_size: int | None, sizes: Mapping[int, int]) -> int | None:
    """Return the size of all numbered chunks but the last, as soon as the received ones, by number, tell; else None."""
    if 1 in sizes:
        return sizes[1]
    if len(sizes) != 1:  # At most one of them is the last, which is not larger.
        return max(sizes.values(), default=None)
    ((number, size),) = sizes.items()
    if file_size is None:
        return None
    as_last, rest = divmod(file_size - size, number - 1)
    if number * size >= file_size:  # There is no room for others of its size before it.
        return as_last if as_last > 0 else None
    return size if rest or as_last < size else None


def highest_chunk(total: int, minimum: int) -> int:
    """Return how many chunks of at least ``minimum`` bytes, but for the last, a file of ``total`` bytes can have."""
    return min(2**31 - 1, max(1, -(-total // minimum)))


def combine_crc32(first: int, second: int, second_length: int) -> int:
    """Return the CRC-32 of A+B from those of A and B and the length of B in bytes.

    Appending n bytes multiplies A's remainder by x^(8n) modulo the CRC polynomial.
    """
    return _multiply(_power_of_x8(second_length), first) ^ second


def _multiply(a: int, b: int) -> int:
    """Multiply two polynomials over GF(2) modulo the CRC polynomial; bit 31 is x^0."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
    return product


@cache
def _power_of_x8(exponent: int) -> int:
    """Return x^(8 * exponent); cached, since nearly all parts of a portal have one of a few sizes."""
    result, base = _ONE, _ONE >> 8
    while exponent:
        if exponent & 1:
            result = _multiply(result, base)
        base = _multiply(base, base)
        exponent >>= 1
    return result
