"""Measure the operator's pages with a million sessions, on each available database."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bench import peers
from bench.scale import on_postgresql
from devstack import weed
from tests.lanes import POSTGRESQL, database_answers

ROWS = 1_000_000
TIMES = 7
LIST = "/admin/upload_sessions/uploadsession/"
PAGES = {
    "list": LIST,
    "the last page that is counted": f"{LIST}?p=200",
    "those of a rare state": f"{LIST}?state__exact=failed",
    "those that are open": f"{LIST}?state__exact=open",
    "found by id": f"{LIST}?q={{pk}}",
    "one upload": f"{LIST}{{pk}}/change/",
    "live": f"{LIST}live/?ids={{pk}}",
}
SCRIPT = """
import json, statistics, time
from datetime import timedelta
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from uploads.models import UploadSession
rows, times, pages = {rows}, {times}, {pages}
now = timezone.now()
UploadSession.objects.create(owner_key="auth.user:1", folder_id="1", path=[1], file_name="a.bin", file_size=10**9,
    bytes_stored=10**9, content_type="a/b", storage="default", object_name="o", object_hash="0",
    state="completed", file_id="1", storage_released=False, expires_at=now + timedelta(hours=12))
table = UploadSession._meta.db_table
postgresql = connection.vendor == "postgresql"
new = {{
    "id": "gen_random_uuid()" if postgresql else "lower(hex(randomblob(16)))",
    "object_hash": "gen_random_uuid()::text" if postgresql else "lower(hex(randomblob(16)))",
    "created_at": "created_at - random() * interval '30 days'" if postgresql
                  else "strftime('%Y-%m-%d %H:%M:%f', created_at, '-' || abs(random() % 2592000) || ' seconds')",
}}
columns = [field.column for field in UploadSession._meta.concrete_fields]
values = [new.get(name, '"%s"' % name) for name in columns]
have = 1
with connection.cursor() as cursor:
    while have < rows:
        names = ", ".join('"%s"' % name for name in columns)
        made = f"SELECT {{', '.join(values)}} FROM {{table}} LIMIT {{rows - have}}"
        cursor.execute(f"INSERT INTO {{table}} ({{names}}) {{made}}")
        have += min(have, rows - have)
some = list(UploadSession.objects.order_by("object_hash").values_list("pk", flat=True)[:1100])
UploadSession.objects.filter(pk__in=some[:1000]).update(state="open", bytes_stored=5)
UploadSession.objects.filter(pk__in=some[1000:1020]).update(state="failed", updated_at=now)
with connection.cursor() as cursor:
    cursor.execute("ANALYZE")
client = Client(SERVER_NAME="localhost")
client.force_login(User.objects.get(username="admin"))
found = {{}}
for name, url in pages.items():
    url, taken = url.format(pk=some[0].hex if "ids=" in url else some[0]), []
    for _ in range(times):
        start = time.perf_counter()
        answer = client.get(url, follow=True)
        taken.append(time.perf_counter() - start)
        assert answer.status_code == 200, (url, answer.status_code)
    found[name] = round(statistics.median(taken) * 1000, 1)
print(json.dumps(found))
"""


@dataclass
class Pages:
    database: str
    rows: int
    milliseconds: dict[str, float]
    """Median request time by page."""


def measure(directory: Path, *, quick: bool) -> list[Pages]:
    place = directory / "pages"
    place.mkdir()
    rows = 2000 if quick else ROWS
    store = weed.start(place / "weed")
    try:
        found = [_measured(place, store, "SQLite", "", rows)]
        if database_answers(POSTGRESQL):
            with on_postgresql() as url:
                found.append(_measured(place, store, "PostgreSQL", url, rows))
        return found
    finally:
        store.stop()


def _measured(place: Path, store: weed.Weed, name: str, url: str, rows: int) -> Pages:
    peer = peers.OursFiles(place, dict(store.environment))
    peer.environment |= {"DATABASE_URL": url} if url else {}
    peer.start()
    try:
        script = SCRIPT.format(rows=rows, times=TIMES, pages=PAGES)
        return Pages(name, rows, json.loads(peer.manage("shell", "-v0", "-c", script).splitlines()[-1]))
    finally:
        peer.stop()


def table(pages: list[Pages]) -> str:
    head = "".join(f" {page.database}, {page.rows:,} sessions, ms |" for page in pages)
    lines = [f"| page |{head}", f"|---|{'---:|' * len(pages)}"]
    lines += [f"| {name} |{''.join(f' {page.milliseconds[name]} |' for page in pages)}" for name in PAGES]
    return "\n".join(lines)
