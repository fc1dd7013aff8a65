"""``make run``: run the demo portal and its services under one supervisor.

Starts an S3 server if none is configured, migrates the database, seeds the demo, and starts gunicorn and Celery. Prints
a message when all is ready. Stops all its processes on a stop signal, or when one of them dies.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import ipaddress
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import TextIO

from devstack import weed

THREADS = "32"
"""Threads of each web process.

It is more than twice ``UPLOAD_THREADS``, the number that one user can occupy, to leave threads for refused requests.
"""
START_TIMEOUT = 90
STOP_TIMEOUT = 15
"""Seconds until a process that has not stopped is killed."""


WEB_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}
"""Settings for glibc to reuse a part's memory in any thread (docs/performance.md)."""


class Stop(Exception):
    """Raised by a stop signal while the supervisor waits."""


class Unreachable(Exception):
    """A configured service does not respond; the text names it."""


class Supervisor:
    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.store: weed.Weed | None = None

    def start(self, name: str, *command: str) -> None:
        with (self.logs / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Its own session, so that Ctrl-C reaches only the supervisor, which stops processes in order.
                start_new_session=True,
            )

    def last_words(self, name: str) -> str:
        """Return the end of a process's log."""
        log = self.logs / f"{name}.log"
        return "".join(log.read_text(errors="replace").splitlines(keepends=True)[-15:])

    def watch(self) -> str:
        """Return the name of the first process that ends without a substitute.

        Other web hosts are substitutes for a web host.
        """
        while True:
            for name, process in list(self.processes.items()):
                if process.poll() is not None:
                    if sum(other.startswith("web") for other in self.processes) < 2 or not name.startswith("web"):
                        return name
                    del self.processes[name]
                    print(f"{name} ended; the other web hosts go on without it.", flush=True)
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop all processes, and the store last, because the others may still write to it."""
        for process in self.processes.values():
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT
        for process in self.processes.values():
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)
                process.wait()
        if self.store:
            self.store.stop()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal a process. SIGKILL also goes to its children, which it can no longer stop."""
    try:
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
    except ProcessLookupError:
        pass


def main() -> int:
    options = _options()
    data = Path(options.data_dir).resolve()
    data.mkdir(parents=True, exist_ok=True)
    # The lock is held until this process ends, for any reason.
    lock = (data / "lock").open("w")
    ports = range(options.port, options.port + options.hosts)
    taken = filter(None, (_port_problem(options.host, port) for port in ports))
    problem = next(taken, "") or _lock_problem(lock, data)
    if problem:
        print(problem, file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _raise_stop)
    supervisor = Supervisor(data / "log")
    try:
        return _run(supervisor, options, data)
    except Stop:
        print("Stopping …", flush=True)
        return 0
    except (weed.WeedError, Unreachable) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        supervisor.stop()


def _run(supervisor: Supervisor, options: argparse.Namespace, data: Path) -> int:
    shutil.rmtree(data / "metrics", ignore_errors=True)
    for directory in ("files", "static", "log", "metrics", "broker/queue", "broker/control"):
        (data / directory).mkdir(parents=True, exist_ok=True)
    os.environ |= {"DATA_DIR": str(data), "PROMETHEUS_MULTIPROC_DIR": str(data / "metrics")}
    print("Starting the store, the database, web and Celery …", flush=True)
    _configure(supervisor, data)
    token = _prepare()
    local = _is_loopback(options.host)
    if not local and _demo_credentials_work():
        print(
            f"Refusing to serve on {options.host}: the demo credentials demo/demo and admin/admin work.\n"
            "Serve on loopback, or change both passwords first.",
            file=sys.stderr,
        )
        return 1
    python = sys.executable
    os.environ.update(WEB_ENVIRONMENT)
    for number in range(options.hosts):
        name, address = f"web{number + 1 if number else ''}", f"{options.host}:{options.port + number}"
        supervisor.start(name, *web_command(address, options.workers, options.threads))
    supervisor.start(
        "worker",
        *(python, "-m", "celery", "-A", "portal", "worker", "--loglevel", "warning", "--pool", "threads"),
        *("--concurrency", "2", "--without-gossip", "--without-mingle", "--without-heartbeat"),
    )
    supervisor.start(
        "beat",
        *(python, "-m", "celery", "-A", "portal", "beat", "--loglevel", "warning"),
        *("--schedule", str(data / "beat"), "--pidfile", ""),
    )
    url = f"http://{'127.0.0.1' if local else options.host}:{options.port}"
    host = url.rpartition(":")[0]
    others = [f"{host}:{port}" for port in range(options.port + 1, options.port + options.hosts)]
    for each in (url, *others):
        _wait_until_healthy(supervisor, each)
    print(_ready_block(url, token, data, others), flush=True)
    ended = supervisor.watch()
    print(f"{ended} ended; stopping the rest. The end of its log:\n{supervisor.last_words(ended)}", file=sys.stderr)
    return 1


def web_command(address: str, workers: str = "2", threads: str = THREADS) -> list[str]:
    """Return the command that serves the portal, with threads because uploads mostly wait."""
    return [
        *(sys.executable, "-m", "gunicorn", "portal.wsgi", "--worker-class", "gthread", "--bind", address),
        *("--workers", workers, "--threads", threads, "--timeout", "120", "--keep-alive", "15"),
        *("--log-level", "warning"),
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=os.environ.get("PORT", "8000"))
    parser.add_argument("--data-dir", default=os.environ.get("DATA_DIR", "var"))
    parser.add_argument("--workers", default=os.environ.get("WEB_WORKERS", "2"))
    parser.add_argument("--hosts", type=int, default=os.environ.get("WEB_HOSTS", "1"), help="web hosts, one a port")
    parser.add_argument("--threads", default=os.environ.get("WEB_THREADS", THREADS))
    return parser.parse_args()


def _port_problem(host: str, port: int) -> str:
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        return (
            f"Cannot serve on {host}:{port}: {os.strerror(error.errno or 0)}. Choose another port: make run PORT=8001"
        )
    return ""


def _lock_problem(lock: TextIO, data: Path) -> str:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return f"Another portal is running on {data}. Stop it, or choose another directory: make run DATA_DIR=./var2"
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _configure(supervisor: Supervisor, data: Path) -> None:
    """Add missing settings to the environment, and save them for manage.py."""
    given = os.environ.get("SECRET_KEY")
    settings = {"SECRET_KEY": given or _kept_secret(data / "secret-key"), "DATA_DIR": str(data)}
    if "AWS_STORAGE_BUCKET_NAME" not in os.environ:
        if weed.find():
            supervisor.store = weed.start(data / "weed")
            settings |= supervisor.store.environment
        else:
            print("No SeaweedFS for this platform: files are kept in the file system instead of S3.", flush=True)
    os.environ.update(settings)
    environment = data / "environment"
    environment.touch(mode=0o600)
    services = {name: value for name, value in os.environ.items() if name.startswith(("DATABASE_", "CELERY_", "AWS_"))}
    environment.write_text("".join(f"{name}={value}\n" for name, value in (services | settings).items()))


def _kept_secret(path: Path) -> str:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(50))
    return path.read_text()


def _prepare() -> str:
    """Migrate and seed the database; return the demo user's API token."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    import django
    from django.core.management import call_command
    from django.db import OperationalError, connections

    django.setup()
    try:
        call_command("migrate", verbosity=0)
    except OperationalError as error:
        message = f"The database cannot be used: {error}"
        raise Unreachable(message) from error
    output = io.StringIO()
    call_command("seed_demo", stdout=output)
    connections.close_all()
    return output.getvalue().strip()


def _demo_credentials_work() -> bool:
    from portal.management.commands.seed_demo import has_demo_credentials

    return has_demo_credentials()


def _wait_until_healthy(supervisor: Supervisor, url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    answer = "no answer"
    while time.monotonic() < deadline:
        for name, process in supervisor.processes.items():
            if process.poll() is not None:
                sys.exit(f"{name} ended while starting. The end of its log:\n{supervisor.last_words(name)}")
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=10).close()
        except urllib.error.HTTPError as error:
            answer = error.read().decode()
            time.sleep(0.5)
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit(f"The portal is not healthy after {START_TIMEOUT} seconds: {answer}")


def _ready_block(url: str, token: str, data: Path, others: list[str]) -> str:
    store = str(data / "files")
    if bucket := os.environ.get("AWS_STORAGE_BUCKET_NAME"):
        store = f"{os.environ.get('AWS_S3_ENDPOINT_URL') or bucket}     S3 store (no web page)"
    manage = shlex.join([sys.executable, str(Path(__file__).resolve().parents[1] / "manage.py")])
    return f"""
──────────────────────────────────────────────────────────────────────────────
 Ready.  Ctrl-C stops everything.

   Portal   {url}/           demo / demo{"".join(f"{chr(10)}            {other}/" for other in others)}
   Admin    {url}/admin/     admin / admin
   API      {url}/api/docs
   Token    {token}
   Files    {store}
   Logs     {data / "log"}

 Run manage.py with the same settings (paste this into another terminal):

   DATA_DIR={shlex.quote(str(data))} {manage} uploads_doctor --url {url}

 Upload a file of two chunks:

   head -c 15000000 /dev/urandom > /tmp/example.bin
   location=$(curl -s -H "Authorization: Token {token}" \\
     -d FileName=example.bin -d FileSize=15000000 \\
     {url}/api/2.0/files/1/upload/create_session \\
     | {sys.executable} -c 'import json, sys; print(json.load(sys.stdin)["data"]["location"])')
   head -c 10485760 /tmp/example.bin \\
     | curl -s -H "Authorization: Token {token}" -F file=@- "$location"; echo
   tail -c +10485761 /tmp/example.bin \\
     | curl -s -H "Authorization: Token {token}" -F file=@- "$location"; echo
──────────────────────────────────────────────────────────────────────────────
"""


def _raise_stop(_number: int, _frame: FrameType | None) -> None:
    raise Stop


if __name__ == "__main__":
    sys.exit(main())
