"""Metrics count requests, bytes and store calls; the dashboard and the alerts use only exported metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from rest_framework.test import APIClient

from portal.models import Folder
from tests.helpers import Uploader
from uploads._internal import sessions

DIRECTORY = Path(__file__).resolve().parents[1] / "docs" / "monitoring"


def count(admin: Client, name: str, **labels: str) -> float:
    """Return the value of a metric on the page for Prometheus."""
    families = text_string_to_metric_families(admin.get("/metrics").content.decode())
    samples = (sample for family in families for sample in family.samples if sample.name == name)
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def expressions() -> list[str]:
    dashboard = json.loads((DIRECTORY / "grafana.json").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((DIRECTORY / "alerts.yml").read_text())["groups"][0]["rules"]
    return shown + [rule["expr"] for rule in rules]


@pytest.mark.parametrize("expression", expressions())
def test_used_metrics_are_exported(admin_client: Client, expression: str) -> None:
    sessions.expire_stale(batch_size=1)
    page = admin_client.get("/metrics").content.decode()
    # A metric with labels has samples only after its first count.
    exported = set(re.findall(r"^# TYPE (uploads_\w+)", page, re.MULTILINE))
    used = {re.sub("_(bucket|count)$", "", name) for name in re.findall(r"uploads_\w+", expression)}
    assert used
    assert used <= exported


@pytest.fixture
def tus_upload(api: APIClient, root: Folder) -> Callable[[bytes], Any]:
    """Return a function that uploads a file with tus in one chunk."""

    def upload(data: bytes) -> Any:
        headers = {"Tus-Resumable": "1.0.0"}
        created = api.post(f"/folders/{root.pk}/tus/", headers=headers | {"Upload-Length": str(len(data))})
        kind = "application/offset+octet-stream"
        return api.generic("PATCH", created["Location"], data, kind, headers=headers | {"Upload-Offset": "0"})

    return upload


@pytest.mark.usefixtures("file_store", "small_chunks")
def test_metrics_distinguish_protocols(
    admin_client: Client, uploader: Uploader, tus_upload: Callable[[bytes], Any]
) -> None:
    watched: dict[str, dict[str, str]] = {
        "uploads_bytes_total onlyoffice": {"protocol": "onlyoffice"},
        "uploads_bytes_total tus": {"protocol": "tus"},
        "uploads_requests_total tus": {"protocol": "tus", "method": "PATCH", "status": "204", "code": ""},
        "uploads_requests_total onlyoffice": {"protocol": "onlyoffice", "method": "POST", "status": "201", "code": ""},
    }

    def counts() -> list[float]:
        return [count(admin_client, name.split()[0], **labels) for name, labels in watched.items()]

    before = counts()
    uploader.send(uploader.create(3), b"abc")
    tus_upload(b"abcd")
    assert [after - old for after, old in zip(counts(), before, strict=True)] == [3, 4, 1, 1]


@pytest.mark.usefixtures("file_store")
@pytest.mark.parametrize(("sent", "counted"), [("GET", "GET"), ("X-ANYTHING", "other")])
def test_refused_requests_are_counted_with_code(
    admin_client: Client, api: APIClient, root: Folder, sent: str, counted: str
) -> None:
    code = {"GET": "session_not_found", "other": "method_not_allowed"}[counted]
    labels = {"protocol": "tus", "method": counted, "code": code}
    before = count(admin_client, "uploads_requests_total", **labels)
    api.generic(sent, f"/folders/{root.pk}/tus/{'0' * 32}", headers={"Tus-Resumable": "1.0.0"})
    assert count(admin_client, "uploads_requests_total", **labels) == before + 1


@pytest.mark.usefixtures("s3_store", "small_chunks")
def test_store_calls_are_timed_by_operation(admin_client: Client, uploader: Uploader) -> None:
    operations = ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "HeadObject"]

    def counts() -> list[float]:
        return [count(admin_client, "uploads_store_seconds_count", operation=name) for name in operations]

    before = counts()
    assert uploader.send(uploader.create(3), b"abc").status_code == 201
    assert [after - old for after, old in zip(counts(), before, strict=True)] == [1, 1, 1, 1]
