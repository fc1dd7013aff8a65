"""Test the doctor on healthy and on faulty stores."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import set_script_prefix
from django.utils import timezone

from devstack import weed
from tests.proxy import proxied, with_header
from uploads._internal import doctor, sessions
from uploads._internal.protocols.resources.protocol import way_of_interim
from uploads._internal.stores.base import Store
from uploads.models import TaskRun, UploadSession

pytestmark = pytest.mark.django_db


def problems(about: str) -> list[str]:
    return [finding.text for finding in doctor.examine() if finding.about == about and not finding.ok]


def test_healthy_store_has_no_problems(store: Store) -> None:
    assert problems("store") == []
    assert problems("clock") == []
    assert problems("settings") == []


def test_examination_leaves_nothing_in_the_store(
    s3_store: Store, s3_keys: Callable[[], set[str]], s3_uploads: Callable[[], set[str]]
) -> None:
    list(doctor.examine())
    assert (s3_keys(), s3_uploads()) == (set(), set())


@pytest.mark.parametrize(
    ("kind", "name", "value", "payload"),
    [
        ("HeadObject", "x-amz-server-side-encryption", None, "no encryption instead of AES256"),
        ("HeadObject", "x-amz-checksum-crc32", "AAAAAA==", "a multipart upload was stored wrongly"),
    ],
)
def test_missing_store_features_are_reported(
    s3: weed.Weed,
    s3_storage: dict[str, Any],
    use_storage: Callable[..., Any],
    kind: str,
    name: str,
    value: str | None,
    payload: str,
) -> None:
    with proxied(s3.endpoint) as proxy:
        s3_storage["OPTIONS"]["endpoint_url"] = proxy.endpoint
        use_storage(s3_storage)
        proxy.inject(kind, with_header(name, value), times=10)
        assert any(payload in text for text in problems("store"))


def test_unreachable_store_is_reported(s3_storage: dict[str, Any], use_storage: Callable[..., Any]) -> None:
    s3_storage["OPTIONS"]["endpoint_url"] = "http://127.0.0.1:9"
    use_storage(s3_storage)
    (problem,) = problems("store")
    assert "STORAGES['default'] does not work: Could not connect" in problem


@pytest.mark.parametrize(
    ("rule", "payload"),
    [
        ({"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}, "aborts uploads 1 days after they began"),
        ({"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 30}}, None),
        ({"Expiration": {"Days": 3}}, "deletes finished files"),
        ({"Expiration": {"Days": 3}, "Filter": {"Prefix": "media/uploads-old/"}}, None),
    ],
)
def test_harmful_lifecycle_rules_are_reported(
    s3_store: Store, s3_client: Any, rule: dict[str, Any], payload: str | None
) -> None:
    rules = [{"ID": "cleaning", "Status": "Enabled", "Filter": {"Prefix": "media/"}, **rule}]
    s3_client.put_bucket_lifecycle_configuration(Bucket=weed.BUCKET, LifecycleConfiguration={"Rules": rules})
    try:
        found = problems("store")
    finally:
        s3_client.delete_bucket_lifecycle(Bucket=weed.BUCKET)
    assert (payload is None and found == []) or any(payload and payload in text for text in found)


def test_tasks_that_do_not_run_are_reported(file_store: Store, open_session: Callable[..., UploadSession]) -> None:
    open_session()
    assert not any("expired" in text for text in problems("tasks"))
    UploadSession.objects.update(created_at=timezone.now() - timedelta(hours=1))
    assert "sessions have not been expired yet: check that beat or cron is running" in problems("tasks")
    sessions.expire_stale(batch_size=1)
    assert not any("expired" in text for text in problems("tasks"))


def test_cron_satisfies_the_task_check(file_store: Store) -> None:
    """No Celery worker needs to answer."""
    sessions.expire_stale(batch_size=1)
    sessions.complete_due(limit=1)
    assert problems("tasks") == []


def ways(url: str) -> list[str]:
    """Return the problems that the doctor finds when it probes the protocols."""
    return [finding.text for finding in doctor.examine(url) if finding.about == "path" and not finding.ok]


def test_probe_respects_the_script_prefix(file_store: Store, settings: Any, before: str) -> None:
    set_script_prefix("/limited/")
    try:
        texts = ways(f"{before}/limited")
    finally:
        set_script_prefix("/")
    assert ["client_max_body_size" in text for text in texts] == [True] * 3


class Before(BaseHTTPRequestHandler):
    """Act as a proxy with a body limit, or as one that redirects clients."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status = {"limited": 413, "closed": 502, "slow": 504, "middleware": 400}.get(self.path.split("/")[1], 301)
        if status == 413 and not self.path.startswith(("/limited/ChunkedUploader.ashx", "/limited/tus/")):
            status = 301
        body = b""
        if status == 400:
            is_form = self.headers["Content-Type"].startswith("multipart/form-data")
            status, code = (400, "body_consumed") if is_form else (404, "session_not_found")
            body = json.dumps({"error": {"type": code}, "code": code}).encode()
        self.send_response(status)
        if status == 301:
            self.send_header("Location", "/limited/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def before() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Before)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/limited", "client_max_body_size"),
        ("/closed", "keep-alive"),
        ("/slow", "proxy_read_timeout"),
        ("/moved", "where the portal really is"),
    ],
)
def test_faulty_proxies_are_diagnosed(file_store: Store, before: str, path: str, hint: str) -> None:
    assert [hint in text for text in ways(before + path)] == [True] * 3


def test_middleware_that_reads_forms_is_diagnosed(file_store: Store, before: str) -> None:
    (text,) = ways(f"{before}/middleware")
    assert "request.POST" in text


def test_command_exit_status_reports_problems(file_store: Store) -> None:
    TaskRun.objects.create(name="complete", ran_at=timezone.now() - timedelta(hours=1))
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("uploads_doctor", stdout=out)
    assert "PROBLEM tasks: sessions were last completed 60 minutes ago: check that beat" in out.getvalue()


ANSWERS = {
    "as-it-should": (b"HTTP/1.1 104 Upload Resumption Supported\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", True),
    "swallowed": (b"HTTP/1.1 200 OK\r\n\r\n", False),
    "taken-for-the-answer": (b"HTTP/1.1 104 Upload Resumption Supported\r\n\r\n", False),
    "broken": (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", False),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_interim_responses_are_probed(uploads_settings: Callable[..., None], name: str) -> None:
    uploads_settings(INTERIM_RESPONSES=True)
    answer, good = ANSWERS[name]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection = server.accept()[0]
            assert connection.recv(2**16).startswith(b"OPTIONS /tus/ ")
            connection.sendall(answer)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        finding = way_of_interim(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert (finding.about, finding.ok) == ("interim", good), finding.text
