"""Run the contract in different portals, each with the app's wheel in its own environment.

``python -m tests.hosts.run`` prints the checks that pass in each portal.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from devstack import weed

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
ENVIRONMENTS = ROOT / "var" / "hosts"


class Environment(NamedTuple):
    """What is installed beside the wheel; portals that need the same share it."""

    django: str
    extras: str = ""
    packages: str = ""


OLDEST, NEWEST = "5.2", "6.1"
NO_PYTHON = f"Django {NEWEST} needs Python 3.12 or newer; this machine has none."
MODELS = Environment(
    OLDEST, packages="crispy-bootstrap5 django-filer django-oscar django-polymorphic django-safedelete"
)
STRICT = Environment(OLDEST, packages="django-cors-headers django-csp djangorestframework-simplejwt")
WAGTAIL = Environment(NEWEST, packages="wagtail>=8")
HOSTS = {
    "minimal": Environment(NEWEST),
    "asgi": Environment(NEWEST, packages="uvicorn"),
    "existing": Environment(NEWEST, "[s3]", "django-unfold"),
    "strict": STRICT,
    "wagtail_site": WAGTAIL,
    "wagtail_site.images": WAGTAIL,
    "filer_site": MODELS,
    "filer_site.images": MODELS,
    "oscar_site": MODELS,
    "archive": MODELS,
    "archive.images": MODELS,
    "elsewhere_db": None,
}
"""Directories with a portal each, and the module that describes it if it is not ``host``; None for the demo's own
environment."""


def build_wheel(directory: Path) -> Path:
    command: list[Any] = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--disable-pip-version-check",
        "--no-deps",
        "-w",
        directory,
    ]
    subprocess.run([*command, ROOT], check=True, capture_output=True)
    (wheel,) = Path(directory).glob("*.whl")
    return wheel


def python_for(django: str) -> str | None:
    """Return a Python for this Django: ours, or for the newest Django another one; None if there is none."""
    if django == OLDEST:
        return sys.executable
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in (14, 13, 12):
        for candidate in (f"python3.{minor}", *map(str, sorted(versions.glob(f"3.{minor}.*/bin/python3")))):
            with suppress(OSError, subprocess.CalledProcessError):  # pyenv's commands fail if their version is not on.
                subprocess.run([candidate, "-V"], check=True, capture_output=True)
                return candidate
    return sys.executable if sys.version_info >= (3, 12) else None


def environment_of(host: str, wheel: Path) -> Path | None:
    """Return the Python of the portal's environment, or None if this machine has no Python for it."""
    needed = HOSTS[host]
    return Path(sys.executable) if needed is None else installed(needed, wheel)


@cache
def installed(needed: Environment, wheel: Path) -> Path | None:
    """Install the wheel into the environment; create it unless one with these requirements exists."""
    base = python_for(needed.django)
    if base is None:
        return None
    packages = [f"django=={needed.django}.*", *needed.packages.split()]
    if needed == STRICT and has_mariadb():
        packages.append("mysqlclient")
    key = hashlib.sha256(f"{base}{needed.extras}{packages}{(ROOT / 'pyproject.toml').read_text()}".encode())
    python = ENVIRONMENTS / key.hexdigest()[:12] / "bin" / "python"
    install: list[Any] = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if not python.exists():
        subprocess.run([base, "-m", "venv", python.parents[1]], check=True)
        subprocess.run([*install, f"{wheel}{needed.extras}", *packages], check=True, capture_output=True)
    subprocess.run([*install, "--no-deps", "--force-reinstall", wheel], check=True, capture_output=True)
    return python


def has_mariadb() -> bool:
    """Return True if a local MariaDB answers and its client can be built."""
    if not (shutil.which("mariadb_config") or shutil.which("mysql_config")):
        return False
    try:
        socket.create_connection(("127.0.0.1", 3306), timeout=1).close()
    except OSError:
        return False
    return True


def run(host: str, python: Path, store: weed.Weed, directory: Path) -> dict[str, str]:
    """Return each check of the contract with its error, empty if it passed."""
    name, _, module = host.partition(".")
    place = directory / host
    shutil.copytree(HERE / "usual", place)
    shutil.copytree(HERE / name, place, dirs_exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DATABASE_", "DJANGO_"))}
    own = {"DJANGO_SETTINGS_MODULE": "settings", "HOST_DIR": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    if HOSTS[host] is None:
        own |= {"PYTHONPATH": str(ROOT), "DATA_DIR": str(place), "SECRET_KEY": "contract"}
    if host == "strict" and has_mariadb():
        own["MARIADB"] = f"uploads_strict_{os.getpid()}"
        _mysql(python, f"CREATE DATABASE {own['MARIADB']} CHARACTER SET utf8mb4")
    for app in ("people", "documents", "library"):
        if (place / app).exists():
            command: list[Any] = [python, "-m", "django", "makemigrations", app, "-v0"]
            subprocess.run(
                command, cwd=place, env=kept | store.environment | own | {"PYTHONPATH": str(place)}, check=True
            )
    try:
        ran = subprocess.run(
            [python, HERE / "contract.py", module or "host"],
            cwd=place,
            env=kept | store.environment | own,
            check=False,
            text=True,
            capture_output=True,
        )
    finally:
        if "MARIADB" in own:
            _mysql(python, f"DROP DATABASE {own['MARIADB']}")
    results = dict(json.loads(line) for line in ran.stdout.splitlines() if line.startswith("["))
    return results or {"start": ran.stderr}


def _mysql(python: Path, statement: str) -> None:
    script = f"import MySQLdb; MySQLdb.connect(host='127.0.0.1', user='root').cursor().execute({statement!r})"
    subprocess.run([python, "-c", script], check=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = weed.start(Path(directory) / "weed")
        try:
            wheel = build_wheel(Path(directory))
            pythons = {host: environment_of(host, wheel) for host in HOSTS}
            found = {host: run(host, python, store, Path(directory)) for host, python in pythons.items() if python}
        finally:
            store.stop()
    checks = list(dict.fromkeys(check for results in found.values() for check in results))
    print(f"| | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
    for check in checks:
        cells = [("NO" if results[check] else "yes") if check in results else "" for results in found.values()]
        print(f"| {check} | {' | '.join(cells)} |")
    if len(found) < len(HOSTS):
        print(f"\nNot run: {', '.join(HOSTS.keys() - found)}. {NO_PYTHON}")
    for host, results in found.items():
        for check, wrong in results.items():
            if wrong:
                print(f"\n{host}, {check}:\n{wrong}")
    sys.exit(any(any(results.values()) for results in found.values()))


if __name__ == "__main__":
    main()
