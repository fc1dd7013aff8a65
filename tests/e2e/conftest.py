"""Start the demo portal as ``make run`` does, with real gunicorn, Celery and S3."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from playwright.sync_api import Browser, Page

from devstack.weed import free_ports
from tests.browser import sign_in

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Demo:
    process: subprocess.Popen[str]
    environment: dict[str, str]
    url: str
    ready_block: str

    @property
    def token(self) -> str:
        return str(re.findall(r"Token +(\w+)", self.ready_block)[0])

    def http(self) -> requests.Session:
        """Return an API client, signed in as demo."""
        http = requests.Session()
        http.headers["Authorization"] = f"Token {self.token}"
        return http

    def create(self, size: int, **fields: Any) -> Any:
        answer = self.http().post(
            f"{self.url}/api/2.0/files/1/upload/create_session",
            json={"FileName": "e2e.bin", "FileSize": size, **fields},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def manage(self, *arguments: str) -> str:
        """Run manage.py as an operator would, in another terminal."""
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, check=True, text=True, capture_output=True
        ).stdout

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """Yield the URL of a database for the demo, or None without a database server."""
    server = os.environ.get("DATABASE_URL")
    if not server:
        yield None
        return
    name = f"uploads_e2e_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield server.rsplit("/", 1)[0] + f"/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def start_demo(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Demo]:
    """Return a function that starts the supervisor and waits for its ready block."""

    def start(**extra: str) -> Demo:
        (port,) = free_ports(1)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DATABASE_"))}
        directory = tmp_path_factory.mktemp("demo")
        own = {
            "PORT": str(port),
            "DATA_DIR": str(directory),
            "CELERY_QUEUE": f"{directory.name}-{uuid.uuid4().hex[:8]}",
            "LOG_LEVEL": "INFO",
            "METRICS_TOKEN": "m",
        }
        environment = inherited | own | extra
        process = subprocess.Popen(
            [sys.executable, "-m", "devstack.run"],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout
        block = ""
        for line in process.stdout:
            block += line
            if "─" in line and "Ready." in block:
                return Demo(process, environment, f"http://127.0.0.1:{port}", block)
        pytest.fail(f"The demo did not start:\n{block}")

    return start


@pytest.fixture(scope="session")
def demo(start_demo: Callable[..., Demo], database_url: str | None) -> Iterator[Demo]:
    started = start_demo(**({"DATABASE_URL": database_url} if database_url else {}))
    yield started
    started.stop()


@pytest.fixture(scope="session")
def lenient_demo(start_demo: Callable[..., Demo]) -> Iterator[Demo]:
    """Yield a demo that accepts small chunks."""
    started = start_demo(UPLOADS_MIN_CHUNK_SIZE="1", UPLOADS_CHUNK_MULTIPLE="1")
    yield started
    started.stop()


@pytest.fixture(scope="session")
def demo_on_files(start_demo: Callable[..., Demo]) -> Iterator[Demo]:
    """Yield a demo without S3: an empty bucket name selects the file system."""
    started = start_demo(AWS_STORAGE_BUCKET_NAME="")
    yield started
    started.stop()


@pytest.fixture
def page(browser: Browser, demo: Demo) -> Iterator[Page]:
    """Yield the demo's folder page, signed in; a module's own ``demo`` counts."""
    context = browser.new_context()
    page = context.new_page()
    sign_in(page, demo.url)
    yield page
    context.close()
