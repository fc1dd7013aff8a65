"""Requests end and leave nothing behind when services are silent or read-only."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests

from tests.faults.client import Client
from tests.faults.stack import ROOT, Stack

CREATE = "/api/2.0/files/1/upload/create_session"


@pytest.fixture
def frozen(stack: Stack) -> Iterator[dict[str, str]]:
    """Start a host whose broker accepts connections but never answers; yield its environment.

    A broker stopped by SIGSTOP behaves in this way.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        broker = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        environment = {"CELERY_BROKER_URL": broker, "SHA256": "1"}
        stack.start_web("frozen", **environment)
        yield environment
        stack.kill("frozen")


def test_silent_broker_holds_no_request(stack: Stack, frozen: dict[str, str]) -> None:
    client = Client([stack.url("frozen")], stack.token)
    path = client.create(3)
    answer = client.request("POST", path, files={"file": b"abc"})
    assert answer is not None
    assert answer.status_code in (201, 202), answer.text  # the periodic task may have been faster
    health = requests.get(f"{stack.url('frozen')}/healthz", timeout=5)
    assert (health.status_code, health.json()) == (200, {"database": "ok", "store": "ok", "broker": "no answer"})
    doctor = subprocess.run(
        [sys.executable, "manage.py", "uploads_doctor"],
        cwd=ROOT,
        env=stack.environment | frozen,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert "the Celery broker does not answer: no answer after" in doctor.stdout
    assert client.insist("POST", path, files={"file": b"abc"}).status_code == 201  # by the other worker


@pytest.fixture
def read_only(stack: Stack) -> Iterator[None]:
    """Simulate a failover: all connections end, and new ones are read-only."""
    if stack.wire is None:
        pytest.skip("SQLite has no failover; PostgreSQL's lane does")
    stack.read_only("on")
    yield
    stack.read_only("off")


def test_read_only_database_is_unavailable(stack: Stack, client: Client, read_only: None) -> None:
    uploads = stack.stored()[1]
    for _ in range(5):
        answer = client.request("POST", CREATE, json={"FileName": "a", "FileSize": 1})
        assert answer is not None
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "database_unavailable")
    health = requests.get(f"{stack.url()}/healthz", timeout=5)
    assert (health.status_code, health.json()["database"]) == (503, "ReadOnlyDatabase")
    assert stack.stored()[1] == uploads
