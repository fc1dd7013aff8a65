"""Run the portal's processes behind a fault proxy (store) and a relay (database)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import boto3
import psycopg
from psycopg import sql

from devstack import weed
from devstack.run import WEB_ENVIRONMENT, web_command
from devstack.weed import free_ports
from tests.proxy import Proxy, Wire, proxied, wired

ROOT = Path(__file__).resolve().parents[2]
CELERY = [sys.executable, "-m", "celery", "-A", "portal"]


class Stack:
    """gunicorn, Celery and beat on SeaweedFS, and on PostgreSQL if available."""

    def __init__(
        self,
        directory: Path,
        store: weed.Weed,
        proxy: Proxy,
        database: str | None,
        wire: Wire | None,
        *,
        on_files: bool = False,
    ) -> None:
        self.directory, self.store, self.proxy, self.wire = directory, store, proxy, wire
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}
        self.oracle: subprocess.Popen[str] | None = None
        own = {
            "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
            "DATA_DIR": str(directory),
            "SECRET_KEY": "faults",
            "CELERY_QUEUE": f"{directory.name}-{uuid.uuid4().hex[:8]}",
            "LOG_LEVEL": "INFO",
            "AWS_S3_ENDPOINT_URL": proxy.endpoint,
            "UPPY_DIR": str(ROOT / "var" / "clients" / "node_modules" / "uppy" / "dist"),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DATABASE_"))}
        self.environment = inherited | WEB_ENVIRONMENT | store.environment | own
        if database:
            self.environment["DATABASE_URL"] = database
        self.files = directory / "files" if on_files else None
        """Directory of the files if they are not in S3."""
        if self.files:
            self.environment["AWS_STORAGE_BUCKET_NAME"] = ""
            self.files.mkdir()
        for name in ("static", "broker/queue", "broker/control"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        self.manage("migrate", "-v0")
        self.token = self.manage("seed_demo").split()[-1]

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        run = subprocess.run(command, cwd=ROOT, env=self.environment, check=False, text=True, capture_output=True)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def ask(self, expression: str) -> Any:
        """Return the value of a Python expression evaluated with the portal's models and sessions."""
        if self.oracle is None:
            command = [sys.executable, "-m", "tests.faults.oracle"]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            with (self.directory / "oracle.log").open("ab") as log:
                self.oracle = subprocess.Popen(command, cwd=ROOT, env=self.environment, stderr=log, **pipes)
        assert self.oracle.stdin
        assert self.oracle.stdout
        print(expression, file=self.oracle.stdin, flush=True)
        answer = json.loads(self.oracle.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def start(self, name: str, *command: str, **environment: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=ROOT, env=self.environment | environment, stdout=log, stderr=log, start_new_session=True
            )

    def start_web(self, name: str = "web", **environment: str) -> None:
        (self.ports[name],) = free_ports(1)
        self.start(name, *web_command(f"127.0.0.1:{self.ports[name]}"), **environment)
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.ports[name]), timeout=1).close()
                return
            time.sleep(0.05)

    def start_celery(self) -> None:
        options = ["--pool", "threads", "--concurrency", "2", "--without-gossip", "--without-mingle", "--loglevel"]
        self.start("celery", *CELERY, "worker", *options, "warning")

    def start_beat(self) -> None:
        options = ["--schedule", str(self.directory / "beat"), "--pidfile", "", "--loglevel", "warning"]
        self.start("beat", *CELERY, "beat", *options)

    def url(self, web: str = "web") -> str:
        return f"http://127.0.0.1:{self.ports[web]}"

    def kill_workers(self, web: str = "web") -> None:
        """Kill the workers of a web server with SIGKILL; gunicorn starts new ones."""
        children = Path(f"/proc/{self.processes[web].pid}/task/{self.processes[web].pid}/children")
        for child in children.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)

    def kill_celery(self) -> None:
        """Kill Celery with SIGKILL and start it again."""
        self.kill("celery")
        self.start_celery()

    def s3(self) -> Any:
        """Return an S3 client that bypasses the fault proxy."""
        return boto3.client(
            "s3",
            endpoint_url=self.store.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.store.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.store.environment["AWS_SECRET_ACCESS_KEY"],
        )

    def stored(self) -> tuple[set[str], set[str]]:
        """Return the names of all objects and of all unfinished multipart uploads."""
        if self.files:
            found = {path.relative_to(self.files) for path in self.files.rglob("*") if path.is_file()}
            hidden = {path for path in found if path.name.startswith(".")}
            unfinished = {path.name for path in hidden if path.name != ".upload-sessions"}
            return {str(path) for path in found - hidden}, unfinished
        s3 = self.s3()
        objects = s3.get_paginator("list_objects_v2").paginate(Bucket=weed.BUCKET)
        uploads = s3.get_paginator("list_multipart_uploads").paginate(Bucket=weed.BUCKET)
        return (
            {item["Key"] for page in objects for item in page.get("Contents", [])},
            {item["Key"] for page in uploads for item in page.get("Uploads", [])},
        )

    def read_only(self, value: str) -> None:
        """Switch the database to read-only (``on``) or back (``off``), and end all connections.

        A failover has the same effect.
        """
        url, name = self.environment["DATABASE_URL"], self.environment["DATABASE_URL"].rpartition("/")[2]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            statement = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
            connection.execute(statement.format(sql.Identifier(name), sql.SQL(value)))
        assert self.wire is not None
        self.wire.cut(0.2)

    def unmount(self, seconds: float) -> None:
        """Replace the directory of the files with an empty one for ``seconds``."""
        assert self.files is not None
        away = self.files.with_name("unmounted")
        self.files.rename(away)
        self.files.mkdir()
        time.sleep(seconds)
        self.files.rmdir()  # Fails if anything was created in it.
        away.rename(self.files)

    def kill(self, name: str) -> None:
        """Kill a process and its children."""
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        if self.oracle:
            self.oracle.communicate()
        for name in list(self.processes):
            self.kill(name)


@contextlib.contextmanager
def running(directory: Path, database_server: str | None, *, on_files: bool = False) -> Iterator[Stack]:
    """Run the whole stack in ``directory``, with its own database on ``database_server``."""
    with contextlib.ExitStack() as parts:
        store = weed.start(directory / "weed")
        parts.callback(store.kill)
        proxy = parts.enter_context(proxied(store.endpoint))
        database = wire = None
        if database_server:
            database = parts.enter_context(_database(database_server, f"uploads_faults_{uuid.uuid4().hex[:8]}"))
            url = urlsplit(database)
            wire = parts.enter_context(wired((url.hostname or "127.0.0.1", url.port or 5432)))
            user = url.netloc.rpartition("@")[0]
            database = urlunsplit(url._replace(netloc=f"{user}@127.0.0.1:{wire.port}"))
        stack = Stack(directory, store, proxy, database, wire, on_files=on_files)
        parts.callback(stack.stop)
        stack.start_web()
        stack.start_celery()
        stack.start_beat()
        yield stack


@contextlib.contextmanager
def _database(server: str, name: str) -> Iterator[str]:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
        yield server.rsplit("/", 1)[0] + f"/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
