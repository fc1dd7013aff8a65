"""Run the tests in lanes: short ones (``make test``) or all combinations (``make test-all``).

``make test-all LANE="mariadb faults"`` runs some of them; ``make test ARGS="-k admin"`` runs pytest once with these
arguments.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests import browser

POSTGRESQL = os.environ.get("TEST_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres")
MARIADB = os.environ.get("TEST_MARIADB_URL", "mysql://root@127.0.0.1:3306/test")
REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/9")
RABBITMQ = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")

PROGRAMS = ("tests/e2e", "tests/faults", "tests/hosts", "tests/servers")
"""Tests that start the portal and its servers as processes."""
IN_PROCESS = ("tests", *(argument for path in PROGRAMS for argument in ("--ignore", path)), "-n", "auto")
STACKS = ("-n", "2", "--dist", "loadfile")
"""Two workers, each with its own stack; all tests of a file share a worker."""
SHORT, LONG = ("-m", "not slow"), ("--hypothesis-profile", "long")
ON_DATABASES = [
    f"tests/uploads/test_{name}.py"
    for name in ("api", "audit", "complete", "concurrency", "end", "limits", "listing", "losses", "machine")
]
"""Tests that depend on the database: locks, transactions and queries."""


@dataclass(frozen=True)
class Lane:
    name: str
    about: str
    minutes: float
    """Expected duration on two cores."""
    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    missing: str = ""
    """Reason why this machine cannot run the lane; empty if it can."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--lane", default="")
    options, arguments = parser.parse_known_args()
    if arguments:
        return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode
    lanes, wanted = all_lanes() if options.all else short_lanes(), options.lane.split()
    if unknown := {*wanted} - {lane.name for lane in lanes}:
        sys.exit(f"There is no lane {', '.join(unknown)}. Lanes: {', '.join(lane.name for lane in lanes)}.")
    lanes = [lane for lane in lanes if not wanted or lane.name in wanted]
    runs = [lane for lane in lanes if not lane.missing]
    print(f"{len(runs)} lanes, about {sum(lane.minutes for lane in runs):.0f} minutes on two cores:")
    for lane in lanes:
        minutes = f"{lane.minutes:4.1f} min" if lane in runs else " skipped"
        print(f"  {lane.name:<12} {minutes}  {lane.missing or lane.about}")
    if browser.find() is None:
        print(browser.MISSING)
    failed = [lane.name for number, lane in enumerate(runs, 1) if run(lane, f"lane {number} of {len(runs)}")]
    print()
    if not options.all:
        print("Left to make test-all: every combination of parameters, MariaDB, RabbitMQ, real clients, the browser's")
        print("pages, other portals and web servers, chaos.")
    print(f"Failed: {', '.join(failed)}." if failed else "All lanes passed.")
    return bool(failed)


def run(lane: Lane, number: str) -> int:
    print(f"\n=== {number}: {lane.name} ({lane.about})", flush=True)
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", *lane.arguments]
    code = subprocess.run(command, env=os.environ | lane.environment, check=False).returncode
    print(f"=== {lane.name}: {'failed' if code else 'passed'} after {time.monotonic() - begun:.0f} s", flush=True)
    return code


def short_lanes() -> list[Lane]:
    problem, database = postgresql()
    faults = ("commits", "faults", "hand_over", "hostile")
    in_browser = "tests/faults/test_page.py::test_upload_resumes_automatically"
    demo = ("tests/e2e/test_upload.py", "tests/e2e/test_run.py", "tests/e2e/test_slow.py")
    return [
        Lane("sqlite", "in process, on SQLite and SeaweedFS", 2.5, (*IN_PROCESS, *SHORT)),
        Lane("postgresql", "locks and queries", 0.7, (*ON_DATABASES, "-n", "auto", *SHORT), database, problem),
        Lane(
            "faults",
            "processes are killed, store and database cut off",
            3,
            (*(f"tests/faults/test_{name}.py" for name in faults), in_browser, *STACKS, *SHORT),
            database,
        ),
        Lane("demo", "what make run starts: gunicorn, Celery, S3", 1.2, (*demo, *SHORT)),
    ]


def all_lanes() -> list[Lane]:
    problem, database = postgresql()
    programs = [path for path in PROGRAMS if path != "tests/faults"]
    mariadb = ("tests/uploads", "-n", "auto", *SHORT)
    no_rabbitmq = "" if broker_answers(RABBITMQ) else f"No RabbitMQ at {RABBITMQ} (TEST_RABBITMQ_URL)."
    return [
        Lane("sqlite", "in process, all combinations", 5, (*IN_PROCESS, *LONG)),
        Lane("programs", "real clients, browsers, other portals, web servers", 8, (*programs, *STACKS)),
        Lane("postgresql", "in process, with Redis where it answers", 4, (*IN_PROCESS, *SHORT), database, problem),
        Lane("faults", "all faults, the browser's pages, chaos", 12, ("tests/faults", *STACKS), database),
        Lane("mariadb", "in process", 4, mariadb, {"DATABASE_URL": MARIADB}, mariadb_problem(MARIADB)),
        Lane(
            "rabbitmq",
            "Celery by way of RabbitMQ",
            0.5,
            ("tests/e2e", "-k", "celery"),
            {"CELERY_BROKER_URL": RABBITMQ},
            no_rabbitmq,
        ),
    ]


def postgresql() -> tuple[str, dict[str, str]]:
    """Return why PostgreSQL is unusable, or its environment, with Redis if available."""
    if not database_answers(POSTGRESQL):
        return f"No PostgreSQL at {POSTGRESQL} (TEST_DATABASE_URL).", {}
    return "", {"DATABASE_URL": POSTGRESQL} | ({"CELERY_BROKER_URL": REDIS} if broker_answers(REDIS) else {})


def database_answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


def mariadb_problem(url: str) -> str:
    try:
        import MySQLdb  # type: ignore[import-untyped]
    except ImportError:
        return "mysqlclient is not installed."
    parts = urlsplit(url)
    try:
        host, port, user = parts.hostname or "", parts.port or 3306, parts.username or ""
        MySQLdb.connect(host=host, port=port, user=user, password=parts.password or "").close()
    except MySQLdb.Error:
        return f"No MariaDB at {url} (TEST_MARIADB_URL)."
    return ""


def broker_answers(url: str) -> bool:
    from kombu import Connection

    try:
        with Connection(url, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
    except Exception:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
