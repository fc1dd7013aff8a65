"""Celery tasks: thin, repeatable, safe to run twice at once. Schedule them as ``README.md`` says."""

from __future__ import annotations

import logging
from contextvars import copy_context
from typing import Any

from celery import current_app, shared_task
from django.dispatch import receiver

from uploads import signals
from uploads._internal import conf, sessions
from uploads._internal.transfer.deadlines import Caller
from uploads.exceptions import SessionBusy
from uploads.models import UploadSession

logger = logging.getLogger(__name__)

PUBLISH_TIMEOUT, WORKERS_TIMEOUT = 3, 15
"""Seconds that a broker is waited for: it may accept connections and say nothing."""
_publishing = Caller(16)


@shared_task(ignore_result=True, soft_time_limit=600)
def expire_sessions() -> int:
    """End the sessions whose time is up, batch by batch, and forget the ones that ended long ago."""
    size = conf.current().BATCH_SIZE
    expired = sessions.expire_stale(batch_size=size)
    sessions.purge(limit=size)
    return expired


@shared_task(ignore_result=True, soft_time_limit=600)
def complete_sessions() -> int:
    """Carry on the sessions that have all bytes but no file yet, because a store or a process failed."""
    size = conf.current().BATCH_SIZE
    for session in sessions.checks_due(limit=size):
        check_session.delay(session.pk.hex)
    return sessions.complete_due(limit=size)


@shared_task(ignore_result=True)
def check_session(session_id: str) -> None:
    """Have the portal check a file; as long as that takes, for it is the portal's to say."""
    session = UploadSession.objects.filter(pk=session_id).first()
    try:
        if session is not None:
            sessions.check(session)
    except SessionBusy:
        logger.info("session %s: somebody is at it", session_id)


@receiver(signals.session_checking)
def begin_check(*, session: UploadSession, **_: Any) -> None:
    """Check it now rather than when the periodic task comes by, which it does if the broker is away or hangs."""
    if current_app.conf.task_always_eager:
        check_session.apply_async((session.pk.hex,))
        return
    try:
        publish = copy_context().run
        _publishing.call(PUBLISH_TIMEOUT, publish, check_session.apply_async, (session.pk.hex,), retry=False)
    except Exception as error:
        logger.warning("session %s: the broker took no task: %r; the periodic one checks the file", session.pk, error)


@shared_task(ignore_result=True, soft_time_limit=3600)
def audit_store(*, fix: bool = False) -> int:
    """Look for what rows and store do not agree on; ``fix`` gives back what is provably ours and nobody's."""
    return sessions.audit(fix=fix).orphans


def workers() -> list[str]:
    """Return the names of the Celery workers that answer.

    Raises what the broker's client raises if the broker is away, and CallTimeout if it says nothing.
    """
    return _publishing.call(WORKERS_TIMEOUT, _workers)


def _workers() -> list[str]:
    with current_app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, timeout=5)
    return [name for answer in current_app.control.ping(timeout=3) or [] for name in answer]
