"""The measured servers, each with a client that drives it as its protocol requires."""

from __future__ import annotations

import http.client
import io
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
import zlib
from abc import ABC, abstractmethod
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from devstack.run import WEB_ENVIRONMENT, web_command
from devstack.weed import BUCKET, free_ports

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MIB = 2**20
BLOCK = os.urandom(64 * MIB)
BATCH = 16
"""Parts that a client has signed in one request."""
CONNECTIONS = 6
"""Connections of parallel uploads: as many as there are parts in 64 MiB."""


class Peer(ABC):
    name: str
    chunk_size = 10 * MIB

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        # Measurements must not use the caller's database and broker.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_", "CELERY_"))}
        self.environment = kept | environment | {"BENCH_DIRECTORY": str(directory)}
        self.process: subprocess.Popen[bytes] | None = None
        (self.port,) = free_ports(1)

    @property
    def pid(self) -> int:
        """Return the pid of the measured process: the server, or this process without one."""
        return self.process.pid if self.process else os.getpid()

    def start(self) -> None:
        with (self.directory / "peer.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.working_directory(),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        message = f"{self.name} did not start: {(self.directory / 'peer.log').read_text()[-2000:]}"
        raise RuntimeError(message)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def working_directory(self) -> Path:
        return ROOT

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def upload(self, size: int) -> None:
        """Send a file of ``size`` bytes and return when it is stored."""

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def chunks(self, size: int) -> list[tuple[int, memoryview]]:
        view = memoryview(BLOCK)
        return [(start, view[: min(self.chunk_size, size - start)]) for start in range(0, size, self.chunk_size)]


def send(connection: http.client.HTTPConnection, method: str, path: str, body: Any, **headers: str) -> Any:
    """Make a request on an open connection; ``body`` is a list of buffers."""
    connection.putrequest(method, path, skip_accept_encoding=True)
    connection.putheader("Content-Length", str(sum(len(part) for part in body)))
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    for part in body:
        connection.send(part)
    response = connection.getresponse()
    answer = response.read()
    if response.status >= 300:
        message = f"{method} {path}: {response.status} {answer[:300]!r}"
        raise RuntimeError(message)
    return response, answer


class Boto3(Peer):
    """The limit: boto3 in this process, straight to the store, one part after another."""

    name = "boto3 straight to S3"

    def command(self) -> list[str]:
        return []

    def start(self) -> None:
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_S3_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(signature_version="s3v4", s3=self.signing(), max_pool_connections=50),
        )

    def signing(self) -> Any:
        return {"addressing_style": "path", "payload_signing_enabled": False}

    def upload(self, size: int) -> None:
        key = os.urandom(8).hex()
        where = {"Bucket": BUCKET, "Key": key}
        upload = self.client.create_multipart_upload(**where)["UploadId"]
        parts = []
        for number, (_, data) in enumerate(self.chunks(size), 1):
            body = bytes(data) if len(data) != len(BLOCK) else BLOCK
            etag = self.client.upload_part(**where, UploadId=upload, PartNumber=number, Body=body)["ETag"]
            parts.append({"PartNumber": number, "ETag": etag})
        self.client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})


class Boto3Defaults(Boto3):
    """boto3 with its defaults: over plain HTTP it signs the SHA-256 of each payload."""

    name = "boto3 straight to S3, signed payloads"

    def signing(self) -> dict[str, Any]:
        return {"addressing_style": "path"}


class Boto3Managed(Boto3):
    """boto3's managed transfer with ``CONNECTIONS`` connections."""

    name = f"boto3, managed transfer, {CONNECTIONS} connections"

    def upload(self, size: int) -> None:
        parts = TransferConfig(multipart_chunksize=self.chunk_size, max_concurrency=CONNECTIONS)
        self.client.upload_fileobj(Data(size), BUCKET, os.urandom(8).hex(), Config=parts)


class Data(io.RawIOBase):
    """A file of ``size`` bytes, as boto3 reads it."""

    def __init__(self, size: int) -> None:
        self.left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        size = min(size, self.left)
        self.left -= size
        return BLOCK[:size]


def wrapped(data: memoryview, *, before: str = "") -> tuple[str, list[Any]]:
    """Return content type and body of a form as Chromium sends it."""
    boundary = f"----WebKitFormBoundary{secrets.token_hex(8)}"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="blob"\r\n\r\n'
    if before:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="filename"\r\n\r\n{before}\r\n{head}'
    return f"multipart/form-data; boundary={boundary}", [head.encode(), data, f"\r\n--{boundary}--\r\n".encode()]


class Ours(Peer):
    name = "uploads, form-data"
    form = True
    settings: ClassVar[dict[str, str]] = {}
    """Environment variables of the portal."""

    def command(self) -> list[str]:
        return web_command(f"127.0.0.1:{self.port}")

    def start(self) -> None:
        own = {"DATA_DIR": str(self.directory), "SECRET_KEY": "bench", "LOG_LEVEL": "ERROR"}
        many = {"UPLOADS_MAX_OPEN_SESSIONS": "1000000"}  # some benchmarks create sessions and abandon them
        self.environment |= own | many | WEB_ENVIRONMENT | self.settings
        (self.directory / "static").mkdir(exist_ok=True)
        self.manage("migrate", "-v0")
        self.auth = f"Token {self.manage('seed_demo').split()[-1]}"
        super().start()

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        run = subprocess.run(command, cwd=ROOT, env=self.environment, check=True, capture_output=True, text=True)
        return run.stdout

    def create(self, connection: http.client.HTTPConnection, size: int) -> str:
        body = json.dumps({"FileName": "bench.bin", "FileSize": size, "CreateNewIfExist": True}).encode()
        headers = {"Authorization": self.auth, "Content_Type": "application/json"}
        _, answer = send(connection, "POST", "/api/2.0/files/1/upload/create_session", [body], **headers)
        return f"/ChunkedUploader.ashx?uid={json.loads(answer)['data']['id']}"

    def upload(self, size: int) -> None:
        connection = self.connect()
        path = self.create(connection, size)
        for _, data in self.chunks(size):
            kind, body = wrapped(data) if self.form else ("application/octet-stream", [data])
            response, _ = send(connection, "POST", path, body, Authorization=self.auth, Content_Type=kind)
        if response.status != 201:
            message = f"not stored: {response.status}"
            raise RuntimeError(message)
        connection.close()


class OursRaw(Ours):
    name = "uploads, raw body"
    form = False


class OursLarge(Ours):
    name = "uploads, chunks of 64 MiB"
    chunk_size = 64 * MIB


class OursWhole(OursRaw):
    name = "uploads, the file as one chunk"

    def upload(self, size: int) -> None:
        connection = self.connect()
        path = self.create(connection, size)
        blocks = [memoryview(BLOCK)[: min(len(BLOCK), size - start)] for start in range(0, size, len(BLOCK))]
        send(connection, "POST", path, blocks, Authorization=self.auth, Content_Type="application/octet-stream")
        connection.close()


class OursHalves(Ours):
    name = "uploads, form-data, parts of 5 MiB"
    settings: ClassVar = {"UPLOADS_PART_SIZE": str(5 * MIB)}


class OursManyParts(OursLarge):
    name = f"uploads, chunks of 64 MiB, {CONNECTIONS} parts at a time"
    settings: ClassVar = {"UPLOADS_PARALLEL_PARTS": str(CONNECTIONS)}


class OursWholeManyParts(OursWhole):
    name = f"uploads, the file as one chunk, {CONNECTIONS} parts at a time"
    settings: ClassVar = {"UPLOADS_PARALLEL_PARTS": str(CONNECTIONS)}


class OursDirect(Ours):
    """Parts straight to the store; the portal signs, lists and completes. The store does most of the work."""

    name = f"uploads, straight to S3, {CONNECTIONS} connections"
    settings: ClassVar = {"UPLOADS_DIRECT": "true"}

    def upload(self, size: int) -> None:
        portal = self.connect()
        headers = {"Authorization": self.auth, "Tus_Resumable": "1.0.0", "Upload_Length": str(size)}
        begun, _ = send(portal, "POST", "/tus/", [], **headers)
        parts = urlsplit(begun.headers["Upload-Parts"]).path
        _, plan = send(portal, "GET", parts, [], Authorization=self.auth)
        part_size, count = json.loads(plan)["part_size"], json.loads(plan)["count"]
        batches, waiting, lock = iter(range(1, count + 1, BATCH)), deque[Any](), threading.Lock()

        def data_of(number: int) -> memoryview:
            return memoryview(BLOCK)[: min(part_size, size - (number - 1) * part_size)]

        def take() -> Any:
            """Return the next signed part, None after the last; sign a batch if none is left."""
            with lock:
                if not waiting and (first := next(batches, 0)):
                    numbers = range(first, min(first + BATCH, count + 1))
                    wanted = [{"number": number, "crc32": f"{zlib.crc32(data_of(number)):08x}"} for number in numbers]
                    body = json.dumps({"parts": wanted}).encode()
                    # Another connection each time, because gunicorn closes idle ones.
                    _, answer = send(self.connect(), "POST", parts, [body], Authorization=self.auth)
                    waiting.extend(json.loads(answer)["parts"])
                return waiting.popleft() if waiting else None

        def work(_: int) -> None:
            store = http.client.HTTPConnection(urlsplit(self.store).netloc, timeout=300)
            while signed := take():
                url = urlsplit(signed["url"])
                send(store, "PUT", f"{url.path}?{url.query}", [data_of(signed["number"])], **signed["headers"])

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(work, range(CONNECTIONS)))
        send(self.connect(), "POST", parts.removesuffix("parts") + "complete", [], Authorization=self.auth)

    @property
    def store(self) -> str:
        return self.environment["AWS_S3_ENDPOINT_URL"]


class Tus(Peer):
    """The tus reference server; also drives the other servers of that protocol."""

    name = "@tus/server + s3-store"
    kind = "s3"

    def command(self) -> list[str]:
        return ["node", "tus.mjs", self.kind, str(self.port), str(self.directory / "tus")]

    def working_directory(self) -> Path:
        return node_peers()

    def start(self) -> None:
        (self.directory / "tus").mkdir(exist_ok=True)
        super().start()

    def upload(self, size: int) -> None:
        upload_by_tus(self, "/files", self.chunks(size), size)


class TusFiles(Tus):
    name = "@tus/server + file-store"
    kind = "files"


class Tuspy(Tus):
    name = "tuspyserver (files)"

    def command(self) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--log-level", "error"]
        return [str(python_peers()), "-m", "uvicorn", "tuspy:app", *where]

    def working_directory(self) -> Path:
        return HERE


class TusOnce(Tus):
    name = "@tus/server + s3-store, one PATCH"

    def upload(self, size: int) -> None:
        upload_by_tus(self, "/files", whole(size), size)


class TusFilesOnce(TusOnce):
    name = "@tus/server + file-store, one PATCH"
    kind = "files"


class TuspyOnce(Tuspy):
    name = "tuspyserver (files), one PATCH"

    def upload(self, size: int) -> None:
        upload_by_tus(self, "/files", whole(size), size)


class OursTus(Ours):
    name = "uploads, tus, one PATCH"

    def upload(self, size: int) -> None:
        upload_by_tus(self, "/tus/", whole(size), size, Authorization=self.auth)


class OursTusFiles(OursTus):
    name = "uploads, tus, one PATCH, on files"
    settings: ClassVar = {"AWS_STORAGE_BUCKET_NAME": ""}


def upload_by_tus(peer: Peer, endpoint: str, chunks: list[tuple[int, Any]], size: int, **headers: str) -> None:
    """Upload as tus clients do; a chunk is an offset and one or more buffers."""
    connection = peer.connect()
    payload = {"Tus_Resumable": "1.0.0"} | headers
    response, _ = send(connection, "POST", endpoint, [], Upload_Length=str(size), **payload)
    path = f"{endpoint.rstrip('/')}/{response.headers['Location'].rsplit('/', 1)[1]}"
    kind = "application/offset+octet-stream"
    for offset, data in chunks:
        blocks = data if isinstance(data, list) else [data]
        response, _ = send(connection, "PATCH", path, blocks, Upload_Offset=str(offset), Content_Type=kind, **payload)
    if response.headers["Upload-Offset"] != str(size):
        message = f"not stored: {response.headers['Upload-Offset']}"
        raise RuntimeError(message)
    connection.close()


def whole(size: int) -> list[tuple[int, Any]]:
    """Return a file as the one chunk that tus-js-client sends by default."""
    return [(0, [memoryview(BLOCK)[: min(len(BLOCK), size - start)] for start in range(0, size, len(BLOCK))])]


class Chunked(Peer):
    name = "drf-chunked-upload (files)"

    def command(self) -> list[str]:
        options = ["--worker-class", "gthread", "--workers", "2", "--threads", "8", "--keep-alive", "60"]
        return [str(python_peers()), "-m", "gunicorn", "chunked", *options, "--bind", f"127.0.0.1:{self.port}"]

    def working_directory(self) -> Path:
        return HERE

    def start(self) -> None:
        subprocess.run([str(python_peers()), "chunked.py"], cwd=HERE, env=self.environment, check=True)
        super().start()

    def upload(self, size: int) -> None:
        connection = self.connect()
        path = "/upload/"
        for start, data in self.chunks(size):
            place = f"bytes {start}-{start + len(data) - 1}/{size}"
            kind, body = wrapped(data, before="bench.bin")
            _, answer = send(connection, "PUT", path, body, Content_Range=place, Content_Type=kind)
            path = f"/upload/{json.loads(answer)['id']}"
        send(connection, "POST", path, [b"{}"], Content_Type="application/json")
        connection.close()


class Copy(Peer):
    """The limit: copy a socket to a file, and sync it after every chunk."""

    name = "socket to file, fsync per chunk"

    def command(self) -> list[str]:
        return [sys.executable, str(HERE / "copy_server.py"), str(self.port), str(self.directory / "copies")]

    def start(self) -> None:
        (self.directory / "copies").mkdir(exist_ok=True)
        super().start()

    def upload(self, size: int) -> None:
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.sendall(size.to_bytes(8, "big"))
        for _, data in self.chunks(size):
            connection.sendall(data)
            if connection.recv(1) != b"k":
                message = "the copy failed"
                raise RuntimeError(message)
        connection.close()


class OursFiles(Ours):
    name = "uploads, form-data, on files"
    settings: ClassVar = {"AWS_STORAGE_BUCKET_NAME": ""}


def together(peer: Peer, size: int, streams: int) -> None:
    """Upload ``streams`` files at once, ``size`` bytes in all."""
    with ThreadPoolExecutor(streams) as pool:
        list(pool.map(lambda _: peer.upload(size // streams), range(streams)))


def node_peers() -> Path:
    """Return the directory of the Node peers; install them if needed."""
    directory = ROOT / "var" / "bench" / "node"
    if not (directory / "node_modules").exists():
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "package.json", directory)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=directory, check=True)
    shutil.copy(HERE / "tus.mjs", directory)
    return directory


def python_peers() -> Path:
    """Return the Python of the Python peers; install them if needed.

    Their requirements conflict with the locked ones of this project.
    """
    python = ROOT / "var" / "bench" / "python" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        wanted = ["-r", str(HERE / "requirements.txt"), "gunicorn", "django<6", "djangorestframework"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
    return python
