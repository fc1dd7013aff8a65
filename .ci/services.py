"""Try each service that the README names with what `make run` installs, and nothing else.

Starts the demo on each combination that answers on this machine, uploads a file, and stops it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from urllib.parse import urlsplit

VENV = ".venv-run"
PYTHON = f"{VENV}/bin/python"
POSTGRESQL = os.environ.get("TEST_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres")
BROKERS = {
    "Redis": os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/9"),
    "RabbitMQ": os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//"),
}
DATABASE = f"uploads_services_{os.getpid()}"


def main() -> None:
    subprocess.run(["make", f"PYTHON={sys.executable}", f"VENV={VENV}", f"{VENV}/run.stamp"], check=True)
    attempt("what is embedded", {})
    for name, url in BROKERS.items():
        if answers(url):
            attempt(name, {"CELERY_BROKER_URL": url})
        else:
            print(f"Skipped: no {name} at {url}.")
    if not answers(POSTGRESQL):
        print(f"Skipped: no PostgreSQL at {POSTGRESQL}.")
        return
    sql(f"CREATE DATABASE {DATABASE}")
    try:
        attempt("PostgreSQL", {"DATABASE_URL": POSTGRESQL.rsplit("/", 1)[0] + f"/{DATABASE}"})
    finally:
        sql(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def answers(url: str) -> bool:
    place = urlsplit(url)
    try:
        socket.create_connection((place.hostname, place.port), timeout=3).close()
    except OSError:
        return False
    return True


def sql(statement: str) -> None:
    program = "import sys, psycopg; psycopg.connect(sys.argv[1], autocommit=True).execute(sys.argv[2])"
    subprocess.run([PYTHON, "-c", program, POSTGRESQL, statement], check=True)


def attempt(name: str, environment: dict[str, str]) -> None:
    port = 10_000 + os.getpid() % 20_000  # lower than those of outgoing connections
    with tempfile.TemporaryDirectory() as directory:
        own = {"PORT": str(port), "DATA_DIR": directory, "CELERY_QUEUE": f"services-{uuid.uuid4().hex[:8]}"}
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "DATABASE_", "CELERY_"))}
        process = subprocess.Popen(
            [PYTHON, "-m", "devstack.run"],
            env=kept | own | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        printed = ""
        for line in process.stdout:
            printed += line
            if "Ready." in printed and "Token" in line:
                break
        else:
            sys.exit(f"{name}: the demo did not start:\n{printed}")
        try:
            upload(f"http://127.0.0.1:{port}", re.findall(r"Token +(\w+)", printed)[0])
            doctor = subprocess.run(
                [PYTHON, "manage.py", "uploads_doctor"], env=kept | own | environment, text=True, capture_output=True
            )
            if "responding Celery workers" not in doctor.stdout:
                sys.exit(f"{name}: no Celery worker answers:\n{doctor.stdout}{doctor.stderr}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
    print(f"{name}: a file was uploaded, and Celery answers.", flush=True)


def upload(url: str, token: str) -> None:
    def post(address: str, body: bytes, kind: str) -> dict:
        headers = {"Authorization": f"Token {token}", "Content-Type": kind}
        with urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=60) as answer:
            return json.load(answer)["data"]

    session = post(
        f"{url}/api/2.0/files/1/upload/create_session", b'{"fileName":"a.txt","fileSize":3}', "application/json"
    )
    file = post(session["location"], b"abc", "application/octet-stream")
    assert file["uploaded"], file


if __name__ == "__main__":
    main()
