"""``make run`` ends every process that it started, and explains why it cannot start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from devstack.weed import free_ports
from tests.e2e.conftest import ROOT, Demo


def refused(**environment: str) -> str:
    # The demo must not use the lane's database.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DATABASE_")}
    run = subprocess.run(
        [sys.executable, "-m", "devstack.run"],
        cwd=ROOT,
        env=kept | environment,
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 1, run.stdout
    return run.stderr


def running_on(directory: str) -> list[str]:
    """Return the command lines of processes whose environment names the data directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if directory.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux to see all processes")
def test_stop_ends_all_processes(start_demo: Callable[..., Demo]) -> None:
    demo = start_demo()
    directory = demo.environment["DATA_DIR"]
    assert requests.get(f"{demo.url}/healthz", timeout=10).json() == {"database": "ok", "store": "ok", "broker": "ok"}
    assert len(running_on(directory)) >= 5
    demo.stop()
    assert demo.process.returncode == 0
    assert running_on(directory) == []


def test_busy_port_and_directory_are_reported(demo: Demo) -> None:
    busy = {"PORT": demo.environment["PORT"], "DATA_DIR": demo.environment["DATA_DIR"]}
    assert "Address already in use. Choose another port" in refused(**busy)
    assert "Another portal is running" in refused(**busy | {"PORT": str(free_ports(1)[0])})


def test_demo_is_served_on_loopback_only(tmp_path: Path) -> None:
    message = refused(HOST="0.0.0.0", PORT=str(free_ports(1)[0]), DATA_DIR=str(tmp_path))  # noqa: S104
    assert "Refusing to serve on 0.0.0.0" in message


@pytest.mark.parametrize("broken", [{"DATABASE_URL": "postgres://nobody@127.0.0.1:9/none"}])
def test_unreachable_service_is_named(broken: dict[str, str], tmp_path: Path) -> None:
    message = refused(PORT=str(free_ports(1)[0]), DATA_DIR=str(tmp_path), **broken)
    assert "The database cannot be used: connection" in message
    assert "Traceback" not in message


def test_printed_command_finds_no_problem(demo: Demo) -> None:
    """Paste the line of the ready block into another terminal, which knows no DATA_DIR."""
    (line,) = re.findall(r"DATA_DIR=.+uploads_doctor.+", demo.ready_block)
    terminal = {name: value for name, value in demo.environment.items() if name != "DATA_DIR"}
    answer = subprocess.run(line, shell=True, cwd="/", env=terminal, text=True, capture_output=True, check=False)  # noqa: S602
    assert answer.stdout.endswith("All is well.\n"), answer.stderr
    assert "0 orphans" in demo.manage("audit_uploads")


def test_ready_block_names_all_addresses(demo: Demo) -> None:
    (docs,) = re.findall(r"API +(\S+)", demo.ready_block)
    assert "swagger" in requests.get(docs, timeout=30).text
    assert re.search(r"Files +http://\S+ +S3 store \(no web page\)", demo.ready_block)


def test_metrics_cover_all_processes(demo: Demo) -> None:
    def value(name: str) -> float:
        answer = requests.get(f"{demo.url}/metrics", headers={"Authorization": "Bearer m"}, timeout=30)
        found = re.search(rf"^{re.escape(name)} (\S+)$", answer.text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    assert requests.get(f"{demo.url}/metrics", timeout=30).status_code == 403
    names = [
        'uploads_sessions_total{event="created"}',
        'uploads_sessions_total{event="completed"}',
        'uploads_bytes_total{protocol="onlyoffice"}',
    ]
    before = [value(name) for name in names]
    session = demo.create(1000)
    assert demo.http().post(session["location"], data=bytes(1000)).status_code == 201
    created, completed, received = (value(name) - old for name, old in zip(names, before, strict=True))
    assert (created, completed) == (1, 1)
    assert received >= 1000  # Bytes of other tests may be counted only now.
    assert value('uploads_sessions_in_state{state="failed"}') == 0
