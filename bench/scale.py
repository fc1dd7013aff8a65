"""Measure create_session, chunks and the reaper with a million sessions on PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench import peers
from devstack import weed
from tests.lanes import POSTGRESQL, database_answers

PARTS = 10
"""Parts of each session in the table."""
CHUNK = 64 * 2**10
STALE = 1000

SESSIONS = """
INSERT INTO upload_sessions_uploadsession ({columns})
SELECT {values} FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
"""
ROWS = """
INSERT INTO upload_sessions_uploadpart
(session_id, "offset", size, crc32, etag, created_at)
SELECT s.id, p * 10485760::bigint, 10485760, 0, 'e', now()
FROM upload_sessions_uploadsession s, generate_series(0, %(parts)s - 1) AS p WHERE s.file_name LIKE 'filled %%'
AND s.created_at >= %(since)s
"""


@dataclass
class Scale:
    sessions: int
    create_p50_ms: float
    create_p99_ms: float
    chunk_p50_ms: float
    chunk_p99_ms: float
    reaper_ms: float
    """Time for each session that the reaper ends."""


def measure(directory: Path, *, quick: bool) -> list[Scale]:
    """Measure at each table size; return an empty list without PostgreSQL."""
    if not database_answers(POSTGRESQL):
        return []
    place = directory / "scale"
    place.mkdir()
    store = weed.start(place / "weed")
    try:
        with on_postgresql() as url:
            peer = peers.OursFiles(place, dict(store.environment))
            peer.environment |= {"DATABASE_URL": url, "UPLOADS_MIN_CHUNK_SIZE": "1"}
            peer.start()
            found, filled = [], 0
            for size in (0, 1000) if quick else (0, 100_000, 1_000_000):
                _fill(url, filled, size)
                filled = size
                found.append(_measure(peer, url, size, count=50 if quick else 500))
            peer.stop()
            return found
    finally:
        store.stop()


def _measure(peer: peers.Ours, url: str, size: int, count: int) -> Scale:
    connection = peer.connect()
    creating, sending = [], []
    body = json.dumps({"FileName": "a.bin", "FileSize": 10**9, "CreateNewIfExist": True}).encode()
    payload = {"Authorization": peer.auth, "Content_Type": "application/json"}
    chunk: dict[str, Any] = {"Authorization": peer.auth, "Content_Type": "application/octet-stream"}
    for number in range(count + 20):
        start = time.perf_counter()
        _, answer = peers.send(connection, "POST", "/api/2.0/files/1/upload/create_session", [body], **payload)
        created = time.perf_counter()
        path = f"/ChunkedUploader.ashx?uid={json.loads(answer)['data']['id']}"
        peers.send(connection, "POST", path, [bytes(CHUNK)], **chunk)
        if number >= 20:
            creating.append(created - start)
            sending.append(time.perf_counter() - created)
    connection.close()
    with psycopg.connect(url, autocommit=True) as database:
        stale = "SELECT id FROM upload_sessions_uploadsession WHERE file_name = 'a.bin' AND state = 'open' LIMIT %s"
        ended = database.execute(
            f"UPDATE upload_sessions_uploadsession SET expires_at = now() - interval '1 day' WHERE id IN ({stale})",  # noqa: S608
            [STALE],
        ).rowcount
    start = time.perf_counter()
    peer.manage("expire_uploads")
    reaping = time.perf_counter() - start
    start = time.perf_counter()
    peer.manage("expire_uploads")  # no sessions left: measures the start of the command
    reaping -= time.perf_counter() - start
    create, send = statistics.quantiles(creating, n=100), statistics.quantiles(sending, n=100)
    in_ms = [round(value * 1000, 2) for value in (create[49], create[98], send[49], send[98], reaping / max(1, ended))]
    return Scale(size, *in_ms)


def _fill(url: str, first: int, last: int) -> None:
    """Add finished sessions up to ``last``, and their parts."""
    if last <= first:
        return
    with psycopg.connect(url, autocommit=True) as database:
        since = database.execute("SELECT clock_timestamp()").fetchone()
        columns = database.execute(
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns "
            "WHERE table_name = 'upload_sessions_uploadsession'"
        ).fetchall()
        values = {name: _value(kind) for name, kind, nullable in columns if nullable == "NO"} | {
            "id": "gen_random_uuid()",
            "state": "'completed'",
            "owner_key": "'auth.user:' || n %% 1000",
            "file_name": "'filled ' || n",
            "object_name": "'filled/' || n",
            "object_hash": "md5('filled/' || n)",
            "file_id": "n::text",
            "size_known": "true",
            "storage": "'default'",
            "created_at": "clock_timestamp()",
        }
        statement = SESSIONS.format(columns=", ".join(values), values=", ".join(values.values()))
        # Ten million rows take minutes only if no row is looked up in indexes and other tables.
        database.execute("SET session_replication_role = replica; SET synchronous_commit = off; SET work_mem = '256MB'")
        database.execute("SET maintenance_work_mem = '1GB'")
        with _without_indexes(database, "upload_sessions_uploadpart"):
            database.execute(statement, {"first": first + 1, "last": last})  # type: ignore[arg-type]
            database.execute(ROWS, {"parts": PARTS, "since": since[0] if since else None})
        database.execute("ANALYZE")


@contextlib.contextmanager
def _without_indexes(database: Any, name: str) -> Iterator[None]:
    """Drop indexes and unique constraints, and recreate them after the inserts."""
    constraints = database.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'u'",
        [name],
    ).fetchall()
    for constraint, _ in constraints:
        database.execute(f'ALTER TABLE {name} DROP CONSTRAINT "{constraint}"')
    indexes = database.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s AND indexname NOT LIKE '%%pkey'", [name]
    ).fetchall()
    for index, _ in indexes:
        database.execute(f'DROP INDEX "{index}"')
    yield
    for constraint, definition in constraints:
        database.execute(f'ALTER TABLE {name} ADD CONSTRAINT "{constraint}" {definition}')
    for _, definition in indexes:
        database.execute(definition)


def _value(kind: str) -> str:
    kinds = {"boolean": "false", "jsonb": "'{}'", "uuid": "gen_random_uuid()", "timestamp with time zone": "now()"}
    return kinds.get(kind, "0" if kind in ("bigint", "integer") else "''")


@contextlib.contextmanager
def on_postgresql() -> Iterator[str]:
    name = f"uploads_bench_{os.getpid()}"
    with psycopg.connect(POSTGRESQL, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{POSTGRESQL.rsplit('/', 1)[0]}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def table(scales: list[Scale]) -> str:
    lines = [
        "| sessions of 10 parts | create_session p50 ms | p99 | chunk of 64 KiB p50 ms | p99 | reaper ms/session |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {scale.sessions:,} | {scale.create_p50_ms:.1f} | {scale.create_p99_ms:.1f} | {scale.chunk_p50_ms:.1f} "
        f"| {scale.chunk_p99_ms:.1f} | {scale.reaper_ms:.1f} |"
        for scale in scales
    ]
    return "\n".join(lines)
