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
from pathlib import Path
from typing import Any

from devstack import weed

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
ENVIRONMENTS = ROOT / "var" / "hosts"
HOSTS = {"minimal": "", "existing": "[s3]", "strict": "", "wagtail_site": "", "elsewhere_db": None}
"""Extras of the app that each portal needs; None for the current environment (demo)."""


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


def environment_of(host: str, wheel: Path) -> Path:
    """Return the Python of the portal's environment; reuse it while its requirements are unchanged."""
    if HOSTS[host] is None:
        return Path(sys.executable)
    requirements = HERE / host / "requirements.txt"
    needed = requirements.read_text() if requirements.exists() else ""
    key = hashlib.sha256(f"{needed}{(ROOT / 'pyproject.toml').read_text()}".encode()).hexdigest()[:12]
    python = ENVIRONMENTS / f"{host}-{key}" / "bin" / "python"
    install: list[Any] = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
        extra = ["mysqlclient"] if host == "strict" and has_mariadb() else []
        subprocess.run([*install, f"{wheel}{HOSTS[host]}", *needed.split(), *extra], check=True, capture_output=True)
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
    place = directory / host
    shutil.copytree(HERE / host, place)
    shutil.copy(HERE / "startproject.py", place)
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
            [python, HERE / "contract.py"],
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
            found = {host: run(host, environment_of(host, wheel), store, Path(directory)) for host in HOSTS}
        finally:
            store.stop()
    checks = list(dict.fromkeys(check for results in found.values() for check in results))
    print(f"| | {' | '.join(HOSTS)} |\n|---|{'---|' * len(HOSTS)}")
    for check in checks:
        cells = ["yes" if results.get(check) == "" else "NO" for results in found.values()]
        print(f"| {check} | {' | '.join(cells)} |")
    for host, results in found.items():
        for check, wrong in results.items():
            if wrong:
                print(f"\n{host}, {check}:\n{wrong}")
    sys.exit(any(any(results.values()) for results in found.values()))


if __name__ == "__main__":
    main()
