"""How bytes become parts: pure arithmetic, no I/O.

Limits of S3 multipart uploads, from "Amazon S3 multipart upload limits" in the S3 user guide.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Limits:
    """What makes a file too large for one multipart upload; tests play the same with small numbers."""

    planned_parts: int = 9_000
    """Parts a plan uses at most. The rest of the 10,000 is for writes whose outcome nobody knows: their part numbers
    are never used again, because a straggler could still overwrite the part."""
    most_parts: int = MAX_PARTS
    copy_size: int = MAX_PART_SIZE
    """Bytes that the store copies into a part at most (S3: UploadPartCopy)."""


limits = Limits()
SPARE_COPIES = 4
"""For segments that do not end where a copy does, because they lost more part numbers than a plan has to spare."""

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31


def minimum_part_size(total: int, store_minimum: int) -> int:
    """Return the size in bytes below which a part that is not the last would waste a part number."""
    return min(MAX_PART_SIZE, max(store_minimum, -(-total // limits.planned_parts)))


def plan_part_size(total: int, preferred: int, store_minimum: int) -> int:
    """Return the part size in bytes for a file of ``total`` bytes: ``preferred`` unless that makes too many parts."""
    return max(preferred, minimum_part_size(total, store_minimum))


def largest_file(part_size: int) -> int:
    """Return the bytes of the largest file whose parts need not be larger than ``part_size``."""
    return limits.planned_parts * min(part_size, MAX_PART_SIZE)


def largest_composed() -> int:
    """Return the bytes of the largest file that the store can put together of segments, however small its parts are."""
    return (MAX_PARTS - SPARE_COPIES) * limits.copy_size


def begins_segment(number: int, before: int, size: int) -> bool:
    """Tell whether a part of ``size`` bytes is better the first of another segment than part ``number`` of this one.

    There are ``before`` bytes in this one. Each copy is of one segment, so one ends with a whole copy wherever the next
    would have no room left in it, going by the parts that it took so far.
    """
    used, copy = number - 1, limits.copy_size
    if used >= limits.most_parts:
        return True
    opens_copy = before > 0 and (before + size - 1) // copy > (before - 1) // copy
    return opens_copy and used * (before + copy) > limits.planned_parts * before


def segment_room(part_size: int) -> int:
    """Return the bytes of numbered chunks that share a segment: whole copies, of half as many parts as are planned."""
    room = limits.planned_parts * part_size // 2
    return room // limits.copy_size * limits.copy_size or room


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
