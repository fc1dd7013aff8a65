"""The S3 server of the demo and the tests."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from devstack import weed


def test_server_starts_although_a_port_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = weed.free_ports
    with socket.create_server(("127.0.0.1", 0)) as other:
        first = [other.getsockname()[1], *free(len(weed.PORTS) - 1)]
        answers = iter([first])
        monkeypatch.setattr(weed, "free_ports", lambda count: next(answers, None) or free(count))
        weed.start(tmp_path).kill()
    assert next(answers, None) is None
