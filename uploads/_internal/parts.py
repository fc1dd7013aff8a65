"""The division of a file into parts of one size. Pure arithmetic, no I/O.

Part numbers follow from offsets. The limits are from "Amazon S3 multipart upload limits" in the S3 user guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache

try:
    from zlib_ng.zlib_ng import crc32  # Seven times as fast as zlib's.
except ImportError:  # There is no wheel for this machine.
    from zlib import crc32

update_crc32 = crc32
"""Return the CRC-32 after more bytes; the second argument is the CRC-32 before them."""

MIN_PART_SIZE = 5 * 2**20
MAX_PART_SIZE = 5 * 2**30
MAX_PARTS = 10_000
MAX_OBJECT_SIZE = MAX_PARTS * MAX_PART_SIZE


MAX_COPY_SIZE = MAX_PART_SIZE
"""Maximum number of bytes that the store copies into a part (S3: UploadPartCopy)."""

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31


@dataclass(frozen=True)
class UploadPlan:
    """The layout of a file in the store.

    Part i begins at byte i * part_size; only the last part may be shorter. A file with too many parts for one
    multipart upload consists of several uploads (segments), which the store joins by copies.
    """

    part_size: int
    copy_parts: int = 0
    """Number of parts in one copy; 0 if the file is a single upload."""
    segment_parts: int = 0
    """Number of parts in a segment: a multiple of ``copy_parts``."""

    @classmethod
    def of(cls, file_size: int | None, chunk_size: int | None, *, preferred: int, least: int, most: int) -> UploadPlan:
        """Return the plan for a file in chunks of ``chunk_size`` bytes, if known.

        ``least`` is the minimum size of a part in bytes, ``most`` the maximum number of parts in an upload.
        """
        part_size = divide(chunk_size, preferred, least)
        if file_size is None or file_size <= most * part_size:
            return cls(part_size)
        copy = max(1, min(most, MAX_COPY_SIZE // part_size))
        return cls(part_size, copy, most // copy * copy)

    def as_json(self) -> dict[str, int]:
        return {name: value for name, value in asdict(self).items() if value}

    def index(self, offset: int) -> int:
        """Return the index, from 0, of the part that contains a byte of the file."""
        return offset // self.part_size

    def border(self, offset: int) -> int:
        """Return the offset behind the part that contains a byte of the file."""
        return (self.index(offset) + 1) * self.part_size

    def segment(self, index: int) -> int:
        return index // self.segment_parts if self.segment_parts else 0

    def number(self, index: int) -> int:
        """Return the part's number in its multipart upload, from 1."""
        return (index % self.segment_parts if self.segment_parts else index) + 1

    def largest(self, most: int) -> int:
        """Return the maximum file size in bytes, with ``most`` parts in an upload."""
        return most * (self.copy_parts or 1) * self.part_size

    def segment_start(self, segment: int) -> int:
        """Return the offset of a segment in the file."""
        return segment * self.segment_parts * self.part_size


def divide(chunk: int | None, preferred: int, least: int) -> int:
    """Return a part size that divides the chunk size, to write each byte once.

    It is the divisor nearest to the preferred size, and at most twice as large, which is the limit of a buffer. If no
    divisor has at least ``least`` bytes, it is the preferred size.
    """
    if not chunk or chunk > MAX_PARTS * preferred:
        return preferred
    counts = range(-(-chunk // (2 * preferred)), chunk // least + 1)
    fits = [chunk // count for count in counts if chunk % count == 0]
    return min(fits, key=lambda size: (abs(size - preferred), size), default=preferred)


def size_of_chunks(file_size: int | None, sizes: Mapping[int, int]) -> int | None:
    """Return the size of all numbered chunks but the last, or None while unknown.

    ``sizes`` are the sizes of the received chunks, by number.
    """
    if 1 in sizes:
        return sizes[1]
    if len(sizes) != 1:  # At most one is the last chunk, which is never larger than the others.
        return max(sizes.values(), default=None)
    ((number, size),) = sizes.items()
    if file_size is None:
        return None
    as_last, rest = divmod(file_size - size, number - 1)
    if number * size >= file_size:  # The file has no room for equally large chunks before it.
        return as_last if as_last > 0 else None
    return size if rest or as_last < size else None


def highest_chunk(total: int, minimum: int) -> int:
    """Return the maximum number of chunks in a file of ``total`` bytes.

    All chunks but the last have at least ``minimum`` bytes.
    """
    return min(2**31 - 1, max(1, -(-total // minimum)))


def combine_crc32(first: int, second: int, second_length: int) -> int:
    """Return the CRC-32 of A+B from the CRC-32 of A and of B.

    ``second_length`` is the length of B in bytes. Appending n bytes multiplies A's remainder by x^(8n) modulo the CRC
    polynomial.
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
    """Return x^(8 * exponent). Cached, because a portal's parts have only a few sizes."""
    result, base = _ONE, _ONE >> 8
    while exponent:
        if exponent & 1:
            result = _multiply(result, base)
        base = _multiply(base, base)
        exponent >>= 1
    return result
