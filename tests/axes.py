"""Parametrize a test with combinations of axes; the short run covers each pair of values."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, product
from typing import Any

import pytest

STORES = {"s3": "s3", "filesystem": "filesystem"}
"""Axis for the fixture ``store``."""


def axes(**values: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Parametrize with all combinations of the named values.

    Combinations that add no new pair of values are marked as slow.
    """
    cases = [tuple(zip(values, labels, strict=True)) for labels in product(*values.values())]
    pairs = {case: set(combinations(case, min(2, len(values)))) for case in cases}
    needed, missing = set(), set().union(*pairs.values())
    while missing:
        best = max(cases, key=lambda case: len(pairs[case] & missing))
        needed.add(best)
        missing -= pairs[best]
    return pytest.mark.parametrize(
        tuple(values),
        [
            pytest.param(
                *(values[name][label] for name, label in case),
                id="-".join(label for _, label in case),
                marks=() if case in needed else pytest.mark.slow,
            )
            for case in cases
        ],
        indirect=[name for name in values if name == "store"],
    )
