"""Each portal runs the same contract, as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("host", ["elsewhere"])
def test_contract(host: str, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DATABASE_"))}
    environment = kept | {
        "DJANGO_SETTINGS_MODULE": f"tests.hosts.{host}",
        "DATA_DIR": str(tmp_path),
        "SECRET_KEY": "contract",
    }
    command = [sys.executable, "-m", "tests.hosts.contract"]
    run = subprocess.run(command, cwd=ROOT, env=environment, check=False, text=True, capture_output=True)
    assert run.returncode == 0, run.stdout + run.stderr
