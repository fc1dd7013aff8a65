from __future__ import annotations

import os
from pathlib import Path

from tests.faults.chaos import chaos


def test_nothing_acknowledged_is_lost_in_a_quarter_of_a_minute_of_chaos(tmp_path: Path) -> None:
    """The short form of ``make chaos``."""
    run = chaos(tmp_path, os.environ.get("DATABASE_URL"), seconds=15, seed=1)
    assert run.problems == []
    assert run.published
    assert any(name.startswith("fault") for name in run.counts)
