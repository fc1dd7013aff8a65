"""Run the code of ``docs/task-queues.md`` with each task queue that is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.dispatch import Signal

from tests.helpers import chunk_of
from uploads import signals, tasks
from uploads._internal import sessions
from uploads._internal.stores.base import Store
from uploads.models import State, UploadSession

PAGE = Path(__file__).parents[1] / "docs" / "task-queues.md"
pytestmark = pytest.mark.django_db(transaction=True)


def lines_of(queue: str) -> Any:
    section = PAGE.read_text().split(f"## {queue}")[1]
    return compile(re.findall("```python\n(.*?)```", section, re.DOTALL)[0], str(PAGE), "exec")


def prepare_dramatiq(settings: Any) -> Callable[[dict[str, Any]], None]:
    dramatiq = pytest.importorskip("dramatiq")
    from dramatiq.brokers.stub import StubBroker  # type: ignore[import-not-found]

    broker = StubBroker()
    dramatiq.set_broker(broker)

    def work(_: dict[str, Any]) -> None:
        for message in broker.queues["default"].queue:
            broker.get_actor("check_upload")(*dramatiq.Message.decode(message).args)

    return work


def prepare_huey(settings: Any) -> Callable[[dict[str, Any]], None]:
    pytest.importorskip("huey")
    settings.HUEY = {"huey_class": "huey.MemoryHuey", "name": "uploads", "immediate": True}
    return lambda _: None


def prepare_rq(settings: Any) -> Callable[[dict[str, Any]], None]:
    pytest.importorskip("django_rq")
    settings.RQ_QUEUES = {"default": {"URL": "redis://127.0.0.1:6379/9", "ASYNC": False}}
    return lambda _: None


def prepare_django(settings: Any) -> Callable[[dict[str, Any]], None]:
    pytest.importorskip("django.tasks")
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
    return lambda _: None


@pytest.fixture
def checking(monkeypatch: pytest.MonkeyPatch) -> Signal:
    """Only the receivers of the page start checks."""
    signal = Signal()
    monkeypatch.setattr(signals, "session_checking", signal)
    return signal


@pytest.mark.parametrize(
    ("queue", "prepare"),
    [
        ("Django's tasks", prepare_django),
        ("django-rq", prepare_rq),
        ("Huey", prepare_huey),
        ("Dramatiq", prepare_dramatiq),
    ],
)
def test_queue_runs_the_check_of_a_file(
    queue: str,
    prepare: Callable[[Any], Callable[[dict[str, Any]], None]],
    checking: Signal,
    settings: Any,
    file_store: Store,
    open_session: Callable[..., UploadSession],
    uploads_settings: Callable[..., None],
) -> None:
    work = prepare(settings)
    names: dict[str, Any] = {"__name__": "portal_tasks"}
    exec(lines_of(queue), names)  # noqa: S102 - the page's own code
    uploads_settings(SHA256=True, CHECK_WAIT=timedelta(milliseconds=1))
    session = sessions.receive(open_session(3), chunk_of(b"abc"))
    work(names)
    session.refresh_from_db()
    assert session.state == State.COMPLETED


def test_direct_call_runs_due_checks(
    checking: Signal, file_store: Store, open_session: Callable[..., UploadSession], uploads_settings: Any
) -> None:
    uploads_settings(SHA256=True, CHECK_WAIT=timedelta(milliseconds=1))
    session = sessions.receive(open_session(3), chunk_of(b"abc"))
    assert session.state == State.CHECKING
    assert tasks.complete_sessions() == 1
    session.refresh_from_db()
    assert session.state == State.COMPLETED


def test_tasks_are_functions_without_celery() -> None:
    program = (
        "import sys; sys.modules['celery'] = None\n"
        "import django; from django.conf import settings\n"
        "apps = ['django.contrib.auth', 'django.contrib.contenttypes', 'rest_framework', 'uploads']\n"
        "settings.configure(INSTALLED_APPS=apps, SECRET_KEY='x')\n"
        "import uploads.apps; uploads.apps.find_spec = lambda name: None\n"
        "django.setup(); from uploads import tasks; print(type(tasks.expire_sessions).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "function"
