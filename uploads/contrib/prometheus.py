"""Count upload events from the app's signals, and export them for Prometheus.

Call ``connect`` once per process (``AppConfig.ready``) and add ``metrics`` to the URLs. Processes share their counts
through the files of ``PROMETHEUS_MULTIPROC_DIR`` (prometheus-client: multiprocess mode). ``docs/monitoring/index.md``
lists the metrics.
"""

from __future__ import annotations

import hmac
import os
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.db.models import Case, Count, Sum, When
from django.http import HttpRequest, HttpResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from uploads import signals
from uploads.destinations.base import caller
from uploads.models import UploadSession

SESSIONS = Counter("uploads_sessions", "What became of upload sessions.", ["event"])
BYTES = Counter("uploads_bytes", "Bytes of chunks that were stored and committed.", ["protocol"])
REQUESTS = Counter(
    "uploads_requests",
    "Requests to upload URLs; those with a code were refused.",
    ["protocol", "method", "status", "code"],
)
STORE_SECONDS = Histogram(
    "uploads_store_seconds",
    "Durations of calls to S3, including boto3's repetitions.",
    ["operation"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
TAKEOVERS = Counter("uploads_lease_takeovers", "Sessions carried on after their writer died.")
EVENTS = {
    "created": signals.session_created,
    "completed": signals.session_completed,
    "aborted": signals.session_aborted,
    "expired": signals.session_expired,
    "failed": signals.session_failed,
}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def connect() -> None:
    """Start counting. Call this once per process."""
    for event, signal in EVENTS.items():
        count = SESSIONS.labels(event)
        signal.connect(lambda count=count, **_: count.inc(), weak=False, dispatch_uid=f"metrics-{event}")
    signals.chunk_stored.connect(_count_bytes, dispatch_uid="metrics-bytes")
    signals.request_finished.connect(_count_request, dispatch_uid="metrics-requests")
    signals.store_called.connect(_observe_call, dispatch_uid="metrics-store")
    signals.lease_taken_over.connect(lambda **_: TAKEOVERS.inc(), weak=False, dispatch_uid="metrics-takeovers")


def _count_bytes(*, size: int, **_: Any) -> None:
    view = caller() and caller().parser_context["view"]
    BYTES.labels(getattr(view, "protocol", "")).inc(size)


def _count_request(*, protocol: str, method: str, status: int, code: str, **_: Any) -> None:
    # A client may send any method, and the process keeps each value of a label.
    REQUESTS.labels(protocol, method if method in METHODS else "other", status, code).inc()


def _observe_call(*, operation: str, seconds: float, **_: Any) -> None:
    STORE_SECONDS.labels(operation).observe(seconds)


@login_not_required
def metrics(request: HttpRequest) -> HttpResponse:
    """Serve metrics in Prometheus' text format to staff and to bearers of METRICS_TOKEN."""
    token = getattr(settings, "METRICS_TOKEN", "")
    given = request.headers.get("Authorization", "")
    known = bool(token) and hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
    if not (known or request.user.is_staff):
        raise PermissionDenied
    return HttpResponse(_counted() + _states(), content_type=CONTENT_TYPE_LATEST)


def _counted() -> bytes:
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _states() -> bytes:
    """Return session counts from the database, which are the same in every process."""
    registry = CollectorRegistry()
    sessions = Gauge("uploads_sessions_in_state", "Upload sessions by state.", ["state"], registry=registry)
    reserved = Gauge("uploads_reserved_bytes", "Declared sizes of unfinished sessions.", registry=registry)
    stale = Gauge(
        "uploads_sessions_stale", "Sessions past their time that wait for the expiry task.", registry=registry
    )
    counts: dict[str, Any] = dict(UploadSession.objects.order_by().values_list("state").annotate(Count("pk")))
    for state in UploadSession.State.values:
        sessions.labels(state).set(counts.get(state, 0))
    size = Case(When(size_known=True, then="file_size"), default="bytes_stored")
    reserved.set(UploadSession.objects.unfinished().aggregate(size=Sum(size))["size"] or 0)
    stale.set(UploadSession.objects.stale().count())
    return generate_latest(registry)
