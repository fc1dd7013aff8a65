"""Uploads make spans for OpenTelemetry, set up as the page on monitoring says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.helpers import Uploader
from tests.proxy import Proxy, refuse
from tests.uploads.test_complete import Vetoes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "monitoring" / "index.md"

pytestmark = pytest.mark.usefixtures("s3_store", "small_chunks")


@pytest.fixture(scope="module")
def exporter() -> Iterator[InMemorySpanExporter]:
    (lines,) = re.findall(r"```python\n(from opentelemetry.*?)```", PAGE.read_text(), re.DOTALL)
    pasted: dict[str, Any] = {}
    exec(lines, pasted)  # noqa: S102
    exporter = InMemorySpanExporter()
    pasted["provider"].add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter
    pasted["provider"].shutdown()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Callable[[], dict[str, ReadableSpan]]:
    """Return a function that reads the last span of each name."""
    exporter.clear()
    return lambda: {span.name: span for span in exporter.get_finished_spans()}


Spans = Callable[[], dict[str, ReadableSpan]]


def test_chunk_has_span_below_portals(uploader: Uploader, spans: Spans) -> None:
    session = uploader.create(8, "secret.bin")
    with trace.get_tracer("portal").start_as_current_span("of the portal") as outer:
        uploader.send(session, b"abcd")
    found = spans()["uploads.receive"]
    assert found.parent == outer.get_span_context()
    values = {"session": session["id"], "protocol": "onlyoffice", "method": "POST", "status": 200, "bytes": 4}
    assert found.attributes == {f"uploads.{name}": value for name, value in values.items()}
    assert found.status.is_unset


def test_creation_has_id_of_session(uploader: Uploader, spans: Spans) -> None:
    session = uploader.create(8)
    attributes = spans()["uploads.receive"].attributes
    assert attributes
    assert attributes["uploads.session"] == session["id"]


def test_refused_request_has_code(uploader: Uploader, spans: Spans) -> None:
    session = uploader.create(8)
    assert uploader.send(session, b"").status_code == 400
    found = spans()["uploads.receive"]
    assert found.attributes
    assert found.attributes["uploads.code"] == "empty_chunk"
    assert found.status.is_unset


def test_unavailable_store_marks_span_as_failed(uploader: Uploader, proxy: Proxy, spans: Spans) -> None:
    session = uploader.create(8)
    proxy.inject("CreateMultipartUpload", refuse)
    assert uploader.send(session, b"abcd").status_code == 503
    found = spans()["uploads.receive"]
    assert found.attributes
    assert (found.attributes["uploads.code"], found.status.status_code) == ("storage_unavailable", StatusCode.ERROR)


def test_store_calls_have_spans_with_durations(uploader: Uploader, spans: Spans) -> None:
    assert uploader.send(uploader.create(3), b"abc").status_code == 201
    found = spans()["uploads.store"]
    assert found.attributes
    assert found.attributes["uploads.operation"] == "HeadObject"
    assert found.start_time
    assert found.end_time
    assert found.start_time < found.end_time


def test_completion_and_store_calls_have_spans_below_request(uploader: Uploader, spans: Spans) -> None:
    session = uploader.create(3)
    assert uploader.send(session, b"abc").status_code == 201
    found = spans()
    complete = found["uploads.complete"]
    assert complete.parent == found["uploads.receive"].context
    assert found["uploads.publish"].parent == complete.context
    assert found["uploads.store"].parent == complete.context
    values = {"session": session["id"], "protocol": "onlyoffice", "bytes": 3}
    assert complete.attributes == {f"uploads.{name}": value for name, value in values.items()}


def test_vetoed_file_marks_spans_as_failed(
    uploader: Uploader, spans: Spans, uploads_settings: Callable[..., None]
) -> None:
    uploads_settings(DESTINATION=f"{Vetoes.__module__}.{Vetoes.__qualname__}")
    assert uploader.send(uploader.create(3), b"abc").status_code == 409
    failed = [spans()[f"uploads.{name}"] for name in ("publish", "complete")]
    assert [(span.attributes or {}).get("uploads.code") for span in failed] == ["forbidden", "forbidden"]
    assert [span.status.status_code for span in failed] == [StatusCode.ERROR, StatusCode.ERROR]


def test_spans_name_no_files_or_urls(uploader: Uploader, spans: Spans) -> None:
    session = uploader.create(3, "secret.bin")
    uploader.send_raw(session, b"abc", headers={"Content-Range": "bytes secret.bin"})
    assert uploader.send(session, b"abc").status_code == 201
    exported = "".join(span.to_json() for span in spans().values())
    assert not re.findall(r"secret|https?://|demo", exported)
