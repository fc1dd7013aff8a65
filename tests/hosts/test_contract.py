"""Each portal passes the same contract, in its own environment, with the app's wheel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devstack import weed
from tests.hosts.run import HOSTS, NO_PYTHON, build_wheel, environment_of, run

pytestmark = pytest.mark.skipif("DATABASE_URL" in os.environ, reason="the portals have databases of their own")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize("host", HOSTS)
def test_portal_fulfills_contract(host: str, wheel: Path, s3: weed.Weed, tmp_path: Path) -> None:
    python = environment_of(host, wheel)
    if python is None:
        pytest.skip(NO_PYTHON)
    results = run(host, python, s3, tmp_path)
    assert len(results) > 10
    assert {check: wrong for check, wrong in results.items() if wrong} == {}
