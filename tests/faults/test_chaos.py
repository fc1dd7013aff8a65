from __future__ import annotations

import os
from pathlib import Path

from tests.faults.chaos import chaos


def test_chaos_loses_no_acknowledged_byte(tmp_path: Path) -> None:
    """Run the short form of ``make chaos``."""
    run = chaos(tmp_path, os.environ.get("DATABASE_URL"), seconds=15, seed=1)
    assert run.problems == []
    assert run.published
    assert any(name.startswith("fault") for name in run.counts)
