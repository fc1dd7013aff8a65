from __future__ import annotations

import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from uploads import parts


@given(first=st.binary(), second=st.binary())
def test_combined_crc32_is_that_of_both(first: bytes, second: bytes) -> None:
    combined = parts.combine_crc32(zlib.crc32(first), zlib.crc32(second), len(second))
    assert combined == zlib.crc32(first + second)


@given(
    total=st.integers(0, parts.MAX_OBJECT_SIZE),
    preferred=st.integers(2 * parts.MIN_PART_SIZE, parts.MAX_PART_SIZE // 2),
    store_minimum=st.sampled_from([1, parts.MIN_PART_SIZE]),
)
def test_plan_stays_within_the_limits_of_s3(total: int, preferred: int, store_minimum: int) -> None:
    size = parts.plan_part_size(total, preferred, store_minimum)
    minimum = parts.minimum_part_size(total, store_minimum)
    assert preferred <= size <= parts.MAX_PART_SIZE or size == minimum
    assert minimum <= size
    assert minimum * parts.MAX_PARTS >= total


@pytest.mark.parametrize(
    ("total", "size"),
    [
        pytest.param(0, 10 * 2**20, id="empty"),
        pytest.param(40 * 2**30, 10 * 2**20, id="40-GiB"),
        pytest.param(2**40, 122_167_959, id="1-TiB"),
        pytest.param(parts.MAX_OBJECT_SIZE, parts.MAX_PART_SIZE, id="the-largest"),
    ],
)
def test_plan_prefers_small_parts(total: int, size: int) -> None:
    assert parts.plan_part_size(total, 10 * 2**20, parts.MIN_PART_SIZE) == size


@given(part_size=st.integers(parts.MIN_PART_SIZE, 64 * 2**20), lost=st.integers(0, 1000))
@example(part_size=10 * 2**20, lost=0)
def test_the_largest_file_is_10_000_copies(part_size: int, lost: int) -> None:
    """However small its parts are, and although writers died and took part numbers along: 48.8 TiB."""
    number, before = 1 + lost, 0
    while not parts.begins_segment(number, before, part_size):
        number, before = number + 1, before + part_size
    assert number - 1 <= parts.MAX_PARTS
    largest, copy = parts.largest_composed(), parts.limits.copy_size
    assert largest / 2**40 > 48.8
    segments, rest = divmod(largest, before)
    assert segments * -(-before // copy) + -(-rest // copy) <= parts.MAX_PARTS
