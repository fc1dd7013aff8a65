"""Run the checks that must pass in every portal.

``python contract.py host`` runs in the portal's environment and directory, on an empty database. The portal's module
``host`` describes its users, folders, URLs and files. Each check prints one line of JSON: its name, and the error, if
any.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as manage.py does

import django

django.setup()

from django.conf import settings
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from uploads._internal import doctor, sessions
from uploads.models import State, UploadSession

host: Any = import_module(sys.argv[1])
CHUNK, DATA, SUFFIX = host.CHUNK, host.DATA, host.SUFFIX
RAW = "application/octet-stream"
TUS: dict[str, Any] = {"HTTP_TUS_RESUMABLE": "1.0.0"}


class Person:
    """A user who uploads with the portal's test client."""

    def __init__(self, user: Any) -> None:
        self.user, self.client = user, host.Client()
        self.headers: dict[str, Any] = host.log_in(self.client, user)

    def ask(self, method: str, url: str, data: bytes = b"", kind: str = RAW, **headers: Any) -> Any:
        parts = urlsplit(url)
        path = parts.path.removeprefix(settings.FORCE_SCRIPT_NAME or "")  # as the web server does
        query = f"?{parts.query}" if parts.query else ""
        return self.client.generic(method, path + query, data, content_type=kind, **self.headers, **headers)

    def create(self, name: str, size: int = len(DATA)) -> Any:
        name += SUFFIX
        url = f"{host.ROOT}/api/2.0/files/{host.folder(self.user)}/upload/create_session"
        body = json.dumps({"FileName": name, "FileSize": size}).encode()
        answer = self.ask("POST", url, body, "application/json")
        assert answer.status_code == 200, answer.content
        return answer.json()["data"]

    def send(self, session: Any, data: bytes, **headers: Any) -> Any:
        return self.ask("POST", session["location"], data, **headers)


def migrate() -> None:
    for alias in settings.DATABASES:
        call_command("migrate", database=alias, verbosity=0)


def migrations() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def checks() -> None:
    payload = io.StringIO()
    call_command("check", deploy=True, stdout=payload, stderr=payload)
    mine = [line for line in payload.getvalue().splitlines() if "(uploads." in line]
    assert mine == [], mine


def in_order() -> None:
    session = me().create("in-order")
    first = me().send(session, DATA[:CHUNK])
    assert first.status_code == 200, first.content
    last = me().send(session, DATA[CHUNK:])
    assert last.status_code == 201, last.content
    assert me().send(session, DATA[CHUNK:]).json() == last.json()


def resume() -> None:
    session = me().create("resumed")
    me().send(session, DATA[:CHUNK])
    reported = me().ask("GET", session["location"]).json()["data"]["bytes_uploaded"]
    assert reported == CHUNK
    for _ in range(2):  # as if the first response had been lost
        span = f"bytes {reported}-{len(DATA) - 1}/{len(DATA)}"
        assert me().send(session, DATA[reported:], HTTP_CONTENT_RANGE=span).status_code == 201


def tus() -> None:
    name = base64.b64encode(f"tus{SUFFIX}".encode()).decode()
    payload: dict[str, Any] = {"HTTP_UPLOAD_LENGTH": str(len(DATA)), "HTTP_UPLOAD_METADATA": f"filename {name}"}
    begun = me().ask("POST", host.TUS.format(folder=host.folder(me().user)), **TUS, **payload)
    assert begun.status_code == 201, begun.content
    for start, end in ((0, 5), (5, len(DATA))):
        kind = "application/offset+octet-stream"
        offset = me().ask("HEAD", begun["Location"], **TUS)["Upload-Offset"]
        assert offset == str(start)
        sent = me().ask("PATCH", begun["Location"], DATA[start:end], kind, **TUS, HTTP_UPLOAD_OFFSET=offset)
        assert sent.status_code == 204, sent.content


def publish() -> None:
    names = {f"{name}{SUFFIX}" for name in ("in-order", "resumed", "tus")}
    found = {title: content == DATA for title, content in host.files().items()}
    assert found == dict.fromkeys(names, True), found


def abort() -> None:
    session = me().create("aborted")
    assert me().ask("POST", f"{session['location']}&abort=true").status_code == 200
    assert me().send(session, DATA[:CHUNK]).status_code == 410


def expire() -> None:
    session = me().create("late")
    me().send(session, DATA[:CHUNK])
    UploadSession.objects.filter(pk=session["id"]).update(expires_at=timezone.now() - timedelta(days=1))
    call_command("expire_uploads", stdout=io.StringIO())
    assert UploadSession.objects.get(pk=session["id"]).state == State.EXPIRED
    report = sessions.audit(fix=False)
    assert (report.orphans, report.lost) == (0, []), vars(report)


def strangers() -> None:
    session = me().create("mine")
    other = Person(host.people()[1])
    assert other.send(session, DATA[:CHUNK]).status_code == 404
    nobody = Person(host.people()[1])
    nobody.client, nobody.headers = host.Client(), {}
    assert nobody.send(session, DATA[:CHUNK]).status_code in (401, 403)
    foreign = host.foreign_folder()
    if foreign is not None:
        url = f"{host.ROOT}/api/2.0/files/{foreign}/upload/create_session"
        body = json.dumps({"FileName": f"a{SUFFIX}", "FileSize": 1}).encode()
        answer = me().ask("POST", url, body, "application/json")
        assert answer.status_code in (403, 404), answer.content


def admin() -> None:
    pages = Client()
    pages.force_login(host.people()[0])
    listed = pages.get(f"{host.ADMIN}upload_sessions/uploadsession/")
    assert listed.status_code == 200, listed.content
    assert f"in-order{SUFFIX}" in listed.content.decode()
    for session in UploadSession.objects.all():
        page = pages.get(f"{host.ADMIN}upload_sessions/uploadsession/{session.pk}/change/")
        assert page.status_code == 200, page.content


def examined() -> None:
    call_command("complete_uploads", stdout=io.StringIO())
    sessions.audit(fix=False)
    bad = [finding.text for finding in doctor.examine() if not finding.ok and finding.about != "tasks"]
    assert bad == [], bad


CHECKS: dict[str, Callable[[], None]] = {
    "migrate": migrate,
    "makemigrations --check": migrations,
    "check --deploy": checks,
    "chunks in order": in_order,
    "resume": resume,
    "tus": tus,
    "publish": publish,
    "abort": abort,
    "expire": expire,
    "strangers": strangers,
    "admin pages": admin,
    "doctor": examined,
    **host.CHECKS,
}
_me: list[Person] = []


def me() -> Person:
    if not _me:
        _me.append(Person(host.people()[0]))
    return _me[0]


if __name__ == "__main__":
    for name, check in CHECKS.items():
        try:
            check()
        except BaseException:
            print(json.dumps([name, traceback.format_exc()]), flush=True)
        else:
            print(json.dumps([name, ""]), flush=True)
