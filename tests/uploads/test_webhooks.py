"""Webhooks: the receiver of the documentation gets signed events of real sessions."""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
from celery import current_app
from django.core.checks import run_checks
from django.urls import path
from pytest_django.live_server_helper import LiveServer

from portal import urls
from tests.helpers import Uploader
from tests.uploads.test_complete import Vetoes
from uploads import signals
from uploads.contrib import webhooks
from uploads.models import UploadSession

PAGE = Path(__file__).resolve().parents[2] / "docs" / "webhooks.md"
SECRET = "a secret of the tests"
pytestmark = pytest.mark.usefixtures("file_store", "small_chunks", "connected")


@pytest.fixture
def connected(settings: Any) -> Iterator[None]:
    """Report the events of the test; Celery delivers them in the thread that would give them to the broker."""
    current_app.conf.task_always_eager = True
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "webhooks"}}
    webhooks.connect()
    yield
    current_app.conf.task_always_eager = False
    for event, signal in webhooks.SIGNALS.items():
        signal.disconnect(dispatch_uid=f"webhooks-{event}")
    signals.request_finished.disconnect(dispatch_uid="webhooks-refused")


@pytest.fixture
def events(live_server: LiveServer, settings: Any) -> queue.Queue[dict[str, Any]]:
    """Serve the receiver of the documentation, and return the events that it accepts."""
    accepted: queue.Queue[dict[str, Any]] = queue.Queue()
    module = ModuleType("receiver_of_the_documentation")
    module.__dict__["handle_event"] = accepted.put
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(next(code for code in examples if "def upload_event" in code), module.__dict__)  # noqa: S102
    module.__dict__["urlpatterns"] = [path("upload-event", module.upload_event), *urls.urlpatterns]
    settings.ROOT_URLCONF = module
    settings.WEBHOOK_SECRET = SECRET
    settings.UPLOADS_WEBHOOKS = [{"url": f"{live_server.url}/upload-event", "secret": SECRET}]
    return accepted


def received(events: queue.Queue[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return [events.get(timeout=10) for _ in range(count)]


@pytest.mark.django_db(transaction=True)
def test_receiver_gets_events_of_a_session(events: queue.Queue[dict[str, Any]], uploader: Uploader) -> None:
    created = uploader.create(6, "a.txt")
    for chunk in (b"abc", b"def"):
        finished = uploader.send(created, chunk)
    got = received(events, 3)
    session = UploadSession.objects.get()
    assert [(event["event"], event["state"], event["bytes_stored"]) for event in got] == [
        ("created", "open", 0),
        ("progress", "open", 3),
        ("completed", "completed", 6),
    ]
    assert got[-1]["file_id"] == int(session.file_id) == finished.json()["data"]["id"]
    assert {(event["id"], event["owner_key"], event["file_name"], event["file_size"]) for event in got} == {
        (session.pk.hex, session.owner_key, "a.txt", 6)
    }


@pytest.mark.django_db(transaction=True)
def test_refusals_are_reported_once(
    events: queue.Queue[dict[str, Any]], uploader: Uploader, uploads_settings: Callable[..., None]
) -> None:
    uploads_settings(ALLOWED_EXTENSIONS={".txt"})
    for name in ("a.exe", "a.exe", "b.txt"):
        uploader.api.post(uploader.url, {"FileName": name, "FileSize": 3}, format="json")
    refused, created = received(events, 2)
    assert (refused["event"], refused["id"], refused["file_name"]) == ("refused", None, "a.exe")
    assert (refused["code"], refused["owner_key"]) == ("extension_not_allowed", created["owner_key"])
    assert created["event"] == "created"


@pytest.mark.django_db(transaction=True)
def test_failure_has_code(
    events: queue.Queue[dict[str, Any]], uploader: Uploader, uploads_settings: Callable[..., None]
) -> None:
    uploads_settings(DESTINATION=f"{Vetoes.__module__}.{Vetoes.__qualname__}")
    uploader.send(uploader.create(3), b"abc")
    created, _, failed = received(events, 3)
    assert (failed["event"], failed["code"], failed["file_id"]) == ("failed", "completion_failed", None)
    assert failed["id"] == created["id"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("secret", "age"), [("another secret of tests", 0), (SECRET, 301)], ids=["forged", "old"])
def test_receiver_rejects_forged_and_old_events(
    events: queue.Queue[dict[str, Any]], settings: Any, secret: str, age: int
) -> None:
    (url,) = webhooks.endpoints()
    body, timestamp = json.dumps({"event": "completed"}).encode(), str(int(time.time()) - age)
    signature = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"Uploads-Timestamp": timestamp, "Uploads-Signature": f"sha256={signature}"}
    assert requests.post(url, body, headers=headers, timeout=10).status_code == 403
    assert events.empty()


@pytest.fixture
def respond(settings: Any) -> Iterator[Callable[..., list[str]]]:
    """Return a function that starts a receiver with these responses, the last of them for ever."""
    servers: list[HTTPServer] = []

    def start(*responses: Callable[[BaseHTTPRequestHandler], None]) -> list[str]:
        calls: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                calls.append(f"{self.command} {self.path}")
                responses[min(len(calls), len(responses)) - 1](self)

            do_GET = do_POST  # noqa: N815 - the method of the base class

            def log_message(self, *args: object) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[0].serve_forever, args=(0.01,)).start()
        url = f"http://127.0.0.1:{servers[0].server_port}/"
        settings.UPLOADS_WEBHOOKS = [{"url": url, "secret": SECRET, "events": ["completed"]}]
        return calls

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def answer(
    status: int, done: threading.Event | None = None, **headers: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if done:
            done.set()

    return write


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("refusal", [answer(503), answer(302, Location="/elsewhere")], ids=["down", "redirect"])
def test_delivery_is_repeated_until_accepted(respond: Any, uploader: Uploader, refusal: Any) -> None:
    done = threading.Event()
    calls = respond(refusal, answer(204, done))
    uploader.send(uploader.create(3), b"abc")
    assert done.wait(10)
    assert calls == ["POST /", "POST /"]


@pytest.mark.django_db(transaction=True)
def test_hanging_receiver_does_not_delay_the_upload(respond: Any, uploader: Uploader) -> None:
    uploaded, done = threading.Event(), threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        assert uploaded.wait(10)
        answer(204, done)(handler)

    respond(hang)
    assert uploader.send(uploader.create(3), b"abc").status_code == 201
    uploaded.set()
    assert done.wait(10)


@pytest.mark.parametrize(
    "entry",
    [{"url": "file:///etc/passwd"}, {"events": ["finished"]}, {"secret": "short"}, {"retries": 3}],
    ids=["scheme", "event", "secret", "key"],
)
def test_invalid_settings_are_reported_without_secret(settings: Any, entry: dict[str, Any]) -> None:
    valid = {"url": "https://files.example/", "secret": SECRET}
    settings.UPLOADS_WEBHOOKS = [valid]
    assert "uploads.E060" not in {problem.id for problem in run_checks(tags=["uploads"])}
    settings.UPLOADS_WEBHOOKS = [valid | entry]
    (problem,) = (problem for problem in run_checks(tags=["uploads"]) if problem.id == "uploads.E060")
    assert SECRET not in problem.msg
    assert SECRET not in repr(webhooks.Endpoint(**valid))
