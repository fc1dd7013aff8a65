"""Report upload events to other services: signed JSON by HTTP POST, delivered by Celery.

Call ``connect`` once per process (``AppConfig.ready``) and set ``UPLOADS_WEBHOOKS``. The page ``docs/webhooks.md``
explains both.
"""

from __future__ import annotations

import atexit
import hashlib
import hmac
import json
import logging
import queue
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from typing import Any
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.cache import cache
from django.db import router, transaction
from django.utils import timezone

from uploads import signals
from uploads._internal import sessions
from uploads._internal.forks import after_fork
from uploads.exceptions import UploadError
from uploads.models import State, UploadSession

logger = logging.getLogger(__name__)

SIGNALS = {
    "created": signals.session_created,
    "progress": signals.chunk_stored,
    "completed": signals.session_completed,
    "failed": signals.session_failed,
    "aborted": signals.session_aborted,
    "expired": signals.session_expired,
}
EVENTS = frozenset({*SIGNALS, "refused"})
REPEATED_AFTER = 10
"""Minimum seconds between two ``progress`` events of a session, and between two equal ``refused`` events."""
TIMEOUT = 10
MIN_SECRET = 16
MAX_WAITING = 1000
"""Maximum number of events of a process that wait for the broker; further ones are dropped."""
EXIT_WAIT = 5
"""Seconds for which an exiting process waits for the broker to take its last events."""
RESUMABLE = frozenset({408, 409, 423, 429})
"""Statuses of refusals after which a client continues by itself."""


@dataclass(frozen=True)
class Endpoint:
    """An entry of ``UPLOADS_WEBHOOKS``."""

    url: str
    secret: str = field(repr=False)
    events: Collection[str] = EVENTS

    def problem(self) -> str:
        """Return what is wrong with the entry; the text never has the secret."""
        address = urlsplit(self.url)
        if address.scheme not in ("http", "https") or not address.hostname or address.username:
            return "a URL must be http or https, and have no user name"
        if len(self.secret) < MIN_SECRET:
            return f"the secret of {self.url} has fewer than {MIN_SECRET} characters"
        unknown = sorted({*self.events} - EVENTS)
        return f"{self.url} has unknown events: {', '.join(unknown)}" if unknown else ""


def endpoints() -> dict[str, Endpoint]:
    return {entry["url"]: Endpoint(**entry) for entry in getattr(settings, "UPLOADS_WEBHOOKS", ())}


def connect() -> None:
    """Start reporting. Call this once per process."""
    for event, signal in SIGNALS.items():
        signal.connect(partial(_report, event), weak=False, dispatch_uid=f"webhooks-{event}")
    signals.request_finished.connect(_report_refusal, dispatch_uid="webhooks-refused")
    checks.register(check_webhooks, "uploads")


def check_webhooks(**_: Any) -> Iterator[checks.CheckMessage]:
    try:
        problems = [endpoint.problem() for endpoint in endpoints().values()]
    except (AttributeError, KeyError, TypeError, ValueError):
        problems = ["each entry is a dictionary with url and secret, and may have a list of events"]
    for problem in filter(None, problems):
        yield checks.Error(f"settings.UPLOADS_WEBHOOKS is invalid: {problem}.", id="uploads.E060")


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a request; receivers compute the same."""
    return f"sha256={hmac.new(secret.encode(), timestamp.encode() + b'.' + body, hashlib.sha256).hexdigest()}"


def _report(event: str, *, session: UploadSession, **_: Any) -> None:
    code = ""
    try:
        sessions.require_no_failure(session)
    except UploadError as error:
        code = error.code
    _enqueue(event, session.pk.hex, _fields(session) | {"code": code})


def _report_refusal(
    *, status: int, code: str, session: UploadSession | None, file_name: str, owner_key: str, **_: Any
) -> None:
    """Report a request for a file that was refused for good, unless its session has ended."""
    if not 400 <= status < 500 or status in RESUMABLE:
        return
    if session is None and file_name:
        fields = _fields(UploadSession(state="", file_name=file_name, owner_key=owner_key)) | {"id": None}
    elif session is not None and session.state == State.OPEN:
        fields = _fields(session)
    else:
        return
    _enqueue("refused", f"{fields['id']} {owner_key} {file_name} {code}", fields | {"code": code})


def _fields(session: UploadSession) -> dict[str, Any]:
    return {
        **{name: getattr(session, name) for name in ("state", "file_name", "bytes_stored", "owner_key")},
        "id": session.pk.hex,
        "file_id": (session.result or {}).get("id"),
        "file_size": session.file_size if session.size_known else None,
    }


def _enqueue(event: str, key: str, fields: dict[str, Any]) -> None:
    urls = [endpoint.url for endpoint in endpoints().values() if event in endpoint.events]
    # The names of files may have characters that a cache does not accept.
    name = f"uploads-webhooks-{hashlib.sha256(f'{event} {key}'.encode()).hexdigest()}"
    if not urls or (event in ("progress", "refused") and not cache.add(name, 1, REPEATED_AFTER)):
        return
    about = {"event": event, "event_id": uuid.uuid4().hex, "time": timezone.now().isoformat()}
    body = json.dumps(about | fields)
    for url in urls:
        put = partial(_outbox.put, url, body)
        transaction.on_commit(put, using=router.db_for_write(UploadSession), robust=True)


class _Outbox:
    """Events on their way to the broker, in a thread: a request does not wait for a broker that hangs."""

    def __init__(self) -> None:
        self._reset()
        after_fork(self._reset)
        atexit.register(self._flush)

    def _reset(self) -> None:
        self._events: queue.Queue[tuple[str, str]] = queue.Queue(MAX_WAITING)
        self._starting, self._started = threading.Lock(), False

    def put(self, url: str, body: str) -> None:
        with self._starting:
            if not self._started:
                threading.Thread(target=self._run, name="uploads-webhooks", daemon=True).start()
                self._started = True
        try:
            self._events.put_nowait((url, body))
        except queue.Full:
            logger.warning("webhook %s: an event is dropped, because %d are waiting", url, MAX_WAITING)

    def _run(self) -> None:
        while True:
            url, body = self._events.get()
            try:
                _send(url, body)
            except Exception as error:
                logger.warning("webhook %s: an event is lost: %r", url, error)
            self._events.task_done()

    def _flush(self) -> None:
        ends = time.monotonic() + EXIT_WAIT
        while self._events.unfinished_tasks and time.monotonic() < ends:
            time.sleep(0.02)


_opener = request.OpenerDirector()  # It knows only HTTP: it follows no redirect and opens no local file.
for _handler in (
    *(request.ProxyHandler(), request.HTTPHandler(), request.HTTPSHandler(), request.UnknownHandler()),
    *(request.HTTPErrorProcessor(), request.HTTPDefaultErrorHandler()),
):
    _opener.add_handler(_handler)


def _deliver(url: str, body: str) -> None:
    """Send an event; raise OSError or HTTPException unless the receiver answers 2xx."""
    endpoint = endpoints().get(url)
    if endpoint is None:
        return  # It was removed from the settings after the event.
    content, now = body.encode(), str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "Uploads-Timestamp": now,
        "Uploads-Signature": sign(endpoint.secret, now, content),
    }
    try:
        _opener.open(request.Request(url, content, headers), timeout=TIMEOUT).close()  # noqa: S310 - only HTTP
    except HTTPError as error:
        error.close()
        message = f"{url} answered {error.code}"
        raise ConnectionError(message) from None


def _task() -> Any:
    """Return the Celery task that delivers an event, or None without Celery."""
    try:
        from celery import shared_task
    except ImportError:
        return None
    return shared_task(
        name="uploads.contrib.webhooks.deliver",
        ignore_result=True,
        soft_time_limit=60,
        autoretry_for=(OSError, HTTPException),
        retry_backoff=5,
        max_retries=10,
    )(_deliver)


deliver = _task()


def _send(url: str, body: str) -> None:
    """Give an event to Celery. Without Celery, send it, once."""
    if deliver is None:
        _deliver(url, body)
    else:
        deliver.apply_async((url, body), retry=False)


_outbox = _Outbox()
