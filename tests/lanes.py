"""``make test``: the whole suite on what every machine has, then on the services that answer here.

With arguments, pytest gets them, once: ``make test ARGS="-k admin"``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from urllib.parse import urlsplit

from kombu import Connection

POSTGRESQL = os.environ.get("TEST_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres")
MARIADB = os.environ.get("TEST_MARIADB_URL", "mysql://root@127.0.0.1:3306/test")
REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/9")
PROGRAMS = ("tests/e2e", "tests/faults", "tests/hosts", "tests/servers")
"""Tests that start the portal and its servers as programs, and kill them: one after another."""
SIDE_BY_SIDE = ("-n", "auto", "--maxprocesses", "4")
IN_PROCESS = ("tests", *(argument for path in PROGRAMS for argument in ("--ignore", path)), *SIDE_BY_SIDE)
RABBITMQ = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")


def main() -> int:
    if sys.argv[1:]:
        return run("SQLite, SeaweedFS, filesystem broker", {}, *sys.argv[1:])
    postgresql = database_answers(POSTGRESQL)
    failed = run("SQLite, SeaweedFS, filesystem broker", {}, *IN_PROCESS)
    # The faults need minutes; they run once, on the database that has more to lose.
    first = [path for path in PROGRAMS if not (postgresql and path == "tests/faults")]
    failed |= run("The same, with programs, browsers, servers", {}, *first)
    if postgresql:
        extra = {"CELERY_BROKER_URL": REDIS} if broker_answers(REDIS) else {}
        lane, name = {"DATABASE_URL": POSTGRESQL, **extra}, f"PostgreSQL{', Redis' if extra else ''}"
        failed |= run(name, lane, *IN_PROCESS, "--ignore", "tests/portal/test_schema.py")
        failed |= run(f"{name}, with faults, browsers", lane, "tests/faults")
    else:
        print(f"\nSkipped: no PostgreSQL at {POSTGRESQL} (TEST_DATABASE_URL).")
    if mariadb_answers(MARIADB):
        failed |= run("MariaDB", {"DATABASE_URL": MARIADB}, "tests/uploads", *SIDE_BY_SIDE)
    else:
        print(f"\nSkipped: no MariaDB at {MARIADB} (TEST_MARIADB_URL), or no mysqlclient in this environment.")
    for name, url in (("Redis", REDIS), ("RabbitMQ", RABBITMQ)):
        if not broker_answers(url):
            print(f"\nSkipped: no {name} at its usual address (TEST_{name.upper()}_URL).")
        elif name == "RabbitMQ":
            failed |= run(name, {"CELERY_BROKER_URL": url}, "tests/e2e", "-k", "celery")
    return failed


def run(name: str, environment: dict[str, str], *arguments: str) -> int:
    print(f"\n=== {name}", flush=True)
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, env=os.environ | environment, check=False).returncode


def database_answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


def mariadb_answers(url: str) -> bool:
    try:
        import MySQLdb  # type: ignore[import-untyped]
    except ImportError:
        return False
    parts = urlsplit(url)
    try:
        host, port, user = parts.hostname or "", parts.port or 3306, parts.username or ""
        MySQLdb.connect(host=host, port=port, user=user, password=parts.password or "").close()
    except MySQLdb.Error:
        return False
    return True


def broker_answers(url: str) -> bool:
    try:
        with Connection(url, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
    except Exception:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
