from __future__ import annotations

import zlib
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploads._internal import parts
from uploads._internal.parts import UploadPlan


@given(first=st.binary(), second=st.binary())
def test_combined_crc32_matches_the_concatenation(first: bytes, second: bytes) -> None:
    combined = parts.combine_crc32(zlib.crc32(first), zlib.crc32(second), len(second))
    assert combined == zlib.crc32(first + second)


MIB = 2**20


@given(
    size=st.integers(1, parts.MAX_OBJECT_SIZE),
    chunk=st.none() | st.integers(1, 2**33),
    preferred=st.integers(parts.MIN_PART_SIZE, 64 * MIB),
    most=st.sampled_from([12, 1000, 10_000]),
)
def test_plan_stays_within_s3_limits(size: int, chunk: int | None, preferred: int, most: int) -> None:
    plan = UploadPlan.of(size, chunk, preferred=preferred, least=parts.MIN_PART_SIZE, most=most)
    assert parts.MIN_PART_SIZE <= plan.part_size <= parts.MAX_PART_SIZE
    if plan.segment_parts:
        assert plan.segment_parts <= most
        assert plan.segment_parts % plan.copy_parts == 0
        assert plan.copy_parts * plan.part_size <= parts.MAX_COPY_SIZE
    else:
        assert size <= most * plan.part_size


@pytest.mark.parametrize(
    ("chunk", "part"),
    [(8, 8), (10, 10), (15, 7.5), (16, 8), (32, 8), (64, 8), (24, 8), (25, 12.5), (30, 10), (3, 10), (None, 10)],
)
def test_part_size_divides_chunks(chunk: int | None, part: float) -> None:
    assert parts.divide(chunk and chunk * MIB, 10 * MIB, 5 * MIB) == part * MIB


def test_size_of_chunks_is_never_wrong() -> None:
    """Try all orders of up to five chunks of files of up to 13 bytes."""
    for file_size in range(1, 14):
        for size in range(-(-file_size // 5), file_size + 1):
            count = -(-file_size // size)
            sizes = {number: min(size, file_size - (number - 1) * size) for number in range(1, count + 1)}
            for order in permutations(sizes):
                for sent in range(1, count + 1):
                    known = {number: sizes[number] for number in order[:sent]}
                    for total in (file_size, None):
                        assert parts.size_of_chunks(total, known) in (None, sizes[1])
            assert parts.size_of_chunks(file_size, sizes) == sizes[1]


@pytest.mark.parametrize(("most", "tib"), [(10_000, 48.8), (1_000, 4.7)])
def test_copies_cover_the_largest_file(most: int, tib: float) -> None:
    plan = UploadPlan.of(2**50, None, preferred=10 * MIB, least=5 * MIB, most=most)
    assert most * plan.copy_parts * plan.part_size >= tib * 2**40
