"""Measure the portal behind each server: features, memory and disk writes.

``python -m tests.servers.run`` (``make servers``) writes the results to the table in ``docs/servers.md``.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from bench.measure import family, resident_mib
from devstack import weed
from tests.data import MIB

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / "var" / "servers"
PAGE = ROOT / "docs" / "servers.md"
MARK = "<!-- servers: written by make servers -->\n"
PACKAGES = ["gunicorn", "gevent", "uwsgi", "waitress", "uvicorn", "daphne", "hypercorn", "granian"]
BIN = ENVIRONMENT / "bin"

_GRANIAN = ("--log-level", "warning", "--port")

SERVERS: dict[str, Callable[[int], list[Any]]] = {
    "gunicorn, gthread": lambda port: [
        *(BIN / "gunicorn", "portal.wsgi", "-k", "gthread", "-w", 1, "--threads", 16, "-b", f"127.0.0.1:{port}")
    ],
    "gunicorn, sync": lambda port: [
        *(BIN / "gunicorn", "portal.wsgi", "-k", "sync", "-w", 4, "-t", 120, "-b", f"127.0.0.1:{port}")
    ],
    "gunicorn, gevent": lambda port: [
        *(BIN / "gunicorn", "portal.wsgi", "-k", "gevent", "-w", 1, "-b", f"127.0.0.1:{port}")
    ],
    "uWSGI": lambda port: [
        *(BIN / "uwsgi", "--http-socket", f"127.0.0.1:{port}", "--module", "portal.wsgi", "--master", "--die-on-term"),
        *("--processes", 1, "--threads", 16, "--enable-threads", "--need-app", "--http-timeout", 120),
    ],
    "waitress": lambda port: [
        BIN / "waitress-serve",
        "--threads=16",
        f"--listen=127.0.0.1:{port}",
        "portal.wsgi:application",
    ],
    "runserver": lambda port: [BIN / "python", "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"],
    "uvicorn (ASGI)": lambda port: [
        BIN / "uvicorn",
        "portal.asgi:application",
        "--port",
        port,
        "--log-level",
        "warning",
    ],
    "hypercorn (ASGI)": lambda port: [BIN / "hypercorn", "portal.asgi:application", "-b", f"127.0.0.1:{port}"],
    "granian (ASGI)": lambda port: [BIN / "granian", "--interface", "asgi", *_GRANIAN, port, "portal.asgi:application"],
    "granian (WSGI)": lambda port: [
        *(BIN / "granian", "--interface", "wsgi", "--blocking-threads", 16, *_GRANIAN, port, "portal.wsgi:application")
    ],
    "daphne (ASGI)": lambda port: [BIN / "daphne", "-p", port, "-v", 0, "portal.asgi:application"],
}
FRONTS = ["nginx, passing on", "nginx, buffering", "nginx, TLS and HTTP/2", "HAProxy", "HAProxy, TLS and HTTP/2"]


@dataclass
class Result:
    """Results of one server; sizes in MiB."""

    name: str
    chunk: str = ""
    chunked: str = ""
    cut: str = ""
    patch: str = ""
    memory: int = 0
    disk: int = 0

    def row(self) -> str:
        memory, disk = (f"{value} MiB" if value > 3 else "–" for value in (self.memory, self.disk))
        return f"| {self.name} | {self.chunk} | {self.chunked} | {self.cut} | {self.patch} | {memory} | {disk} |"


@dataclass
class Watch:
    """Peak memory (MiB) of a process family, and peak bytes of its files in ``temporary``."""

    pid: int
    temporary: Path
    resident: float = 0
    written: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.ended.wait(0.03):
            with suppress(OSError, IndexError):  # A process or a file has disappeared since it was listed.
                self.look()

    def look(self) -> None:
        members = family(self.pid)
        self.resident = max(self.resident, sum(map(resident_mib, members)))
        opened = [link for pid in members for link in Path(f"/proc/{pid}/fd").iterdir()]
        kept = [link for link in opened if str(self.temporary) in str(link.readlink())]
        seen = [path.stat() for path in (*kept, *self.temporary.rglob("*")) if path.is_file()]
        sizes = {(found.st_dev, found.st_ino): found.st_blocks * 512 for found in seen}
        self.written = max(self.written, sum(sizes.values()))


@contextmanager
def watching(pid: int, temporary: Path) -> Iterator[Watch]:
    watch = Watch(pid, temporary)
    thread = threading.Thread(target=watch.run)
    thread.start()
    yield watch
    watch.ended.set()
    thread.join()


def install() -> bool:
    """Install the servers into an environment kept between runs; return True on success."""
    stamp = ENVIRONMENT / "stamp"
    wanted = (ROOT / "requirements" / "run.txt").read_text() + " ".join(PACKAGES)
    if stamp.exists() and stamp.read_text() == wanted:
        return True
    subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    command: list[Any] = [BIN / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run([*command, "-r", "requirements/run.txt", *PACKAGES], cwd=ROOT, check=False)
    if done.returncode == 0:
        stamp.write_text(wanted)
    return done.returncode == 0


class Portal:
    """The demo portal's data and store, served by one server at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.temporary = directory / "tmp"
        self.temporary.mkdir(parents=True)
        self.store = weed.start(directory / "weed")
        for name in ("broker/queue", "broker/control"):
            (directory / name).mkdir(parents=True)
        own = {
            "SECRET_KEY": "x",
            "DATA_DIR": str(directory),
            "TMPDIR": str(self.temporary),
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            "PYTHONPATH": str(ROOT),
            "MALLOC_ARENA_MAX": "1",
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_", "AWS_"))}
        self.environment = inherited | own | self.store.environment
        self.manage("migrate", "-v0")
        self.token = self.manage("seed_demo").strip()
        self._session = requests.Session()
        self._session.headers.update({"Authorization": f"Token {self.token}", "Connection": "close"})
        self._session.verify, self._session.trust_env = str(self.directory / "cert.pem"), False

    @property
    def http(self) -> requests.Session:
        """Return a client without open connections: some servers close theirs silently."""
        self._session.close()
        return self._session

    def manage(self, *arguments: str) -> str:
        command: list[Any] = [BIN / "python", "manage.py", *arguments]
        run = subprocess.run(command, cwd=ROOT, env=self.environment, check=True, text=True, capture_output=True)
        return str(run.stdout)

    @contextmanager
    def serving(self, name: str) -> Iterator[tuple[int, int]]:
        """Start a server; yield its pid and port."""
        (port,) = weed.free_ports(1)
        command = [str(word) for word in SERVERS[name](port)]
        log = self.directory / "server.log"
        with log.open("wb") as out:
            process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=out, stderr=out)
        try:
            self.wait(f"http://127.0.0.1:{port}")
            yield process.pid, port
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()

    def wait(self, url: str) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.http.get(f"{url}/login/", timeout=5).status_code == 200:
                    return
            except requests.RequestException:
                pass
            assert time.monotonic() < deadline, (self.directory / "server.log").read_text()[-2000:]
            time.sleep(0.1)

    def create(self, url: str, size: int) -> str:
        payload = {"FileName": "x.bin", "FileSize": size}
        answer = self.http.post(f"{url}/api/2.0/files/1/upload/create_session", json=payload, timeout=60)
        assert answer.status_code == 200, answer.text
        return f"{url}/ChunkedUploader.ashx?uid={answer.json()['data']['id']}"

    def post(self, location: str, size: int) -> requests.Response:
        # Not an iterator: requests would send it in chunked encoding.
        payload = {"Content-Type": "application/octet-stream"}
        return self.http.post(location, data=io.BytesIO(bytes(size)), headers=payload, timeout=600)

    def stored(self, location: str) -> int:
        return int(self.http.get(location, timeout=60).json()["data"]["bytes_uploaded"])

    def look(self, name: str, url: str, pid: int, size: int) -> Result:
        """Send a large, a chunked-encoded and a truncated chunk; record memory and disk use."""
        result = Result(name)
        location = self.create(url, size)
        self.http.get(location, timeout=60)
        with watching(pid, self.temporary) as before:
            time.sleep(0.3)
        with watching(pid, self.temporary) as watch:
            result.chunk = str(self.post(location, size).status_code)
        result.memory = int(max(0, watch.resident - before.resident))
        result.disk = watch.written // MIB
        result.chunked = self._chunked(url)
        result.cut = self._cut(url)
        result.patch = self._cut_patch(url)
        return result

    def _chunked(self, url: str) -> str:
        location = self.create(url, 12 * MIB)
        try:
            payload = {"Content-Type": "application/octet-stream"}
            return str(self.http.post(location, data=_blocks(12 * MIB), headers=payload, timeout=60).status_code)
        except requests.RequestException as error:
            return type(error).__name__

    def _cut(self, url: str) -> str:
        """Send a truncated chunk; return "does not count" if the server stores none of it."""
        location = self.create(url, 24 * MIB)
        with self.connected("POST", location, "Content-Type: application/octet-stream") as line:
            line.sendall(bytes(6 * MIB))
        deadline = time.monotonic() + 30
        while True:  # until the server notices the cut and releases the session
            answer = self.post(location, 12 * MIB)
            if answer.status_code != 423 or time.monotonic() > deadline:
                break
            time.sleep(0.3)
        return "does not count" if (answer.status_code, self.stored(location)) == (200, 12 * MIB) else answer.text[:80]

    def _cut_patch(self, url: str) -> str:
        """Send a truncated PATCH of tus; return "kept" if the bytes that arrived are stored."""
        fields = {"Tus-Resumable": "1.0.0", "Upload-Length": str(12 * MIB), "Upload-Metadata": "filename YS5iaW4="}
        location = urljoin(url, self.http.post(f"{url}/tus/", headers=fields, timeout=60).headers["Location"])
        chunk = ("Tus-Resumable: 1.0.0", "Upload-Offset: 0", "Content-Type: application/offset+octet-stream")
        with self.connected("PATCH", location, *chunk) as line:
            line.sendall(bytes(6 * MIB))
            time.sleep(0.5)  # Proxies drop what they have not forwarded when the connection ends.
        deadline = time.monotonic() + 5
        offset = 0
        while offset < 6 * MIB and time.monotonic() < deadline:
            answer = self.http.head(location, headers={"Tus-Resumable": "1.0.0"}, timeout=60)
            offset = int(answer.headers.get("Upload-Offset", 0))
            time.sleep(0.2)
        return "kept" if offset == 6 * MIB else "partly kept" if offset else "lost"

    @contextmanager
    def connected(self, method: str, location: str, *headers: str) -> Iterator[socket.socket]:
        """Begin a request of 12 MiB; yield the connection for its body."""
        parts = urlsplit(location)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {parts.netloc}",
            f"Content-Length: {12 * MIB}",
            f"Authorization: Token {self.token}",
            *headers,
        ]
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as plain:
            context = ssl._create_unverified_context()  # noqa: S323 - self-signed certificate
            line = context.wrap_socket(plain, server_hostname="127.0.0.1") if parts.scheme == "https" else plain
            with line:
                line.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
                yield line

    @contextmanager
    def fronted(self, name: str, behind: int) -> Iterator[tuple[int, str]]:
        """Put nginx or HAProxy before the server at port ``behind``; yield its pid and URL."""
        (port,) = weed.free_ports(1)
        secure = "TLS" in name
        if secure:
            self._certificate()
        config = self.directory / "front.conf"
        config.write_text((_nginx if name.startswith("nginx") else _haproxy)(self, name, port, behind))
        command = (
            ["nginx", "-c", config, "-e", "stderr", "-g", "daemon off;"]
            if name[0] == "n"
            else ["haproxy", "-f", config]
        )
        with (self.directory / "front.log").open("wb") as out:
            process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=out)
        url = f"http{'s' if secure else ''}://127.0.0.1:{port}"
        try:
            self.wait(url)
            yield process.pid, url
        finally:
            process.terminate()
            process.wait(20)

    def _certificate(self) -> None:
        if not (self.directory / "both.pem").exists():
            key, certificate = self.directory / "key.pem", self.directory / "cert.pem"
            subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
            command = ["openssl", *["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"], *subject]
            subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
            (self.directory / "both.pem").write_text(certificate.read_text() + key.read_text())


def _nginx(portal: Portal, name: str, port: int, behind: int) -> str:
    """Return the nginx configuration of compose.yml, adapted to this machine."""
    site = (ROOT / "devstack" / "compose" / "nginx.conf").read_text()
    site = site.replace("server web1:8000;", f"server 127.0.0.1:{behind};").replace("    server web2:8000;\n", "")
    listen = f"listen 127.0.0.1:{port}"
    if "TLS" in name:
        files = f"ssl_certificate {portal.directory}/cert.pem;\n    ssl_certificate_key {portal.directory}/key.pem;"
        listen = f"{listen} ssl http2;\n    {files}"
    else:
        listen += ";"
    site = site.replace("listen 80;", listen)
    if "buffering" in name:
        site = site.replace("proxy_request_buffering off", "proxy_request_buffering on")
    paths = "".join(
        f"{kind}_temp_path {portal.temporary}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"user root;\npid {portal.directory}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}{site}}}\n"


def _haproxy(portal: Portal, name: str, port: int, behind: int) -> str:
    tls = f" ssl crt {portal.directory}/both.pem alpn h2,http/1.1" if "TLS" in name else ""
    return f"""defaults
  mode http
  timeout connect 5s
  timeout client 120s
  timeout server 120s
frontend front
  bind 127.0.0.1:{port}{tls}
  http-request set-header X-Forwarded-Proto {"https" if tls else "http"}
  default_backend portal
backend portal
  server web 127.0.0.1:{behind}
"""


def over_http2(portal: Portal, url: str, size: int) -> str:
    """Send a chunk with curl over HTTP/2; return the HTTP version and the status."""
    location, path = portal.create(url, size), portal.directory / "chunk.bin"
    with path.open("wb") as file:
        for block in _blocks(size):
            file.write(block)
    command = ["curl", "-sk", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"]
    payload = ["-H", f"Authorization: Token {portal.token}", "-H", "Content-Type: application/octet-stream"]
    run = subprocess.run(
        [*command, *payload, "--data-binary", f"@{path}", location], capture_output=True, text=True, check=False
    )
    return run.stdout


def _blocks(size: int) -> Iterator[bytes]:
    block = bytes(2**18)
    for start in range(0, size, len(block)):
        yield block[: size - start]


def measured(size: int) -> list[Result]:
    results = []
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        portal = Portal(Path(directory))
        stack.callback(portal.store.stop)
        for name in SERVERS:
            with portal.serving(name) as (pid, port):
                results.append(portal.look(name, f"http://127.0.0.1:{port}", pid, size))
            print(results[-1].row(), flush=True)
        for name in FRONTS:
            if shutil.which(name.split(",")[0].lower()):
                with portal.serving("gunicorn, gthread") as (_, port), portal.fronted(name, port) as (pid, url):
                    results.append(portal.look(name, url, pid, size))
                    if "HTTP/2" in name:
                        results[-1].chunk = over_http2(portal, url, size).replace("2 ", "")
                print(results[-1].row(), flush=True)
    return results


def main() -> None:
    if not install():
        sys.exit("The servers could not be installed.")
    results = measured(300 * MIB)
    head = [
        "| server | chunk of 300 MiB | chunked encoding | cut chunk | cut PATCH | memory | written to disk |",
        "|---|---|---|---|---|---:|---:|",
    ]
    page = PAGE.read_text().split(MARK)[0]
    PAGE.write_text(page + MARK + "\n".join([*head, *(result.row() for result in results)]) + "\n")
    print(json.dumps([vars(result) for result in results]))


if __name__ == "__main__":
    main()
