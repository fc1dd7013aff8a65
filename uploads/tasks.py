"""Periodic work, safe to repeat and to run concurrently: Celery tasks, and functions for any other task queue.

``docs/task-queues.md`` has the schedules.
"""

from __future__ import annotations

import logging
from contextvars import copy_context
from typing import Any

from uploads._internal import conf, sessions
from uploads._internal.transfer.deadlines import Caller
from uploads.exceptions import SessionBusy
from uploads.models import UploadSession

try:
    from celery import current_app, shared_task
except ImportError:  # Another task queue, or cron, calls the functions.

    def shared_task(**_: Any) -> Any:  # type: ignore[no-redef]
        return lambda function: function


logger = logging.getLogger(__name__)

PUBLISH_TIMEOUT, WORKERS_TIMEOUT = 3, 15
"""Seconds to wait for a broker, which may accept connections without ever responding."""
_publishing = Caller(16)


@shared_task(ignore_result=True, soft_time_limit=600)
def expire_sessions() -> int:
    """End expired sessions in batches, and delete the rows of long ended ones."""
    size = conf.current().BATCH_SIZE
    expired = sessions.expire_stale(batch_size=size)
    sessions.purge(limit=size)
    return expired


@shared_task(ignore_result=True, soft_time_limit=600)
def complete_sessions() -> int:
    """Complete the sessions with all bytes but no file, after a store or process failed.

    In Celery, due checks become tasks of their own; a direct call runs them.
    """
    size = conf.current().BATCH_SIZE
    in_celery = hasattr(complete_sessions, "request") and not complete_sessions.request.called_directly
    begin = check_session.delay if in_celery else check_session
    due = sessions.checks_due(limit=size)
    for session in due:
        begin(session.pk.hex)
    return len(due) + sessions.complete_due(limit=size)


@shared_task(ignore_result=True)
def check_session(session_id: str) -> None:
    """Run the portal's check of a file. Only the portal limits its duration."""
    session = UploadSession.objects.filter(pk=session_id).first()
    try:
        if session is not None:
            sessions.check(session)
    except SessionBusy:
        logger.info("session %s: somebody is at it", session_id)


def begin_check(*, session: UploadSession, **_: Any) -> None:
    """Start the check of a file immediately.

    If the broker is unavailable or hangs, the periodic task starts it later.
    """
    if current_app.conf.task_always_eager:
        check_session.apply_async((session.pk.hex,))
        return
    try:
        publish = copy_context().run
        _publishing.call(PUBLISH_TIMEOUT, publish, check_session.apply_async, (session.pk.hex,), retry=False)
    except Exception as error:
        logger.warning(
            "session %s: the broker took no task: %r; the periodic one checks the file", session.label, error
        )


@shared_task(ignore_result=True, soft_time_limit=3600)
def audit_store(*, fix: bool = False) -> int:
    """Find differences between rows and store; ``fix`` removes orphans that are provably ours."""
    return sessions.audit(fix=fix).orphans


def workers() -> list[str]:
    """Return the names of the Celery workers that answer.

    Raises the error of the broker's client if the broker is unavailable, and CallTimeout if it does not respond.
    """
    return _publishing.call(WORKERS_TIMEOUT, _workers)


def _workers() -> list[str]:
    with current_app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, timeout=5)
    return [name for answer in current_app.control.ping(timeout=3) or [] for name in answer]
