"""Celery tasks: thin, repeatable, safe to run twice at once. Schedule them as ``README.md`` says."""

from __future__ import annotations

from celery import current_app, shared_task
from django.utils import timezone

from uploads import conf, sessions
from uploads.models import TaskRun


@shared_task(ignore_result=True, soft_time_limit=600)
def expire_sessions() -> int:
    """End the sessions whose time is up, batch by batch, and forget the ones that ended long ago."""
    size = conf.current().BATCH_SIZE
    expired = sessions.expire_stale(batch_size=size)
    sessions.purge(limit=size)
    _note("expire_sessions")
    return expired


@shared_task(ignore_result=True, soft_time_limit=600)
def complete_sessions() -> int:
    """Carry on the sessions that have all bytes but no file yet, because a store or a process failed."""
    carried_on = sessions.complete_due(limit=conf.current().BATCH_SIZE)
    _note("complete_sessions")
    return carried_on


@shared_task(ignore_result=True, soft_time_limit=3600)
def audit_store(*, fix: bool = False) -> int:
    """Look for what rows and store do not agree on; ``fix`` gives back what is provably ours and nobody's."""
    orphans = sessions.audit(fix=fix).orphans
    _note("audit_store")
    return orphans


def workers() -> list[str]:
    """Return the names of the Celery workers that answer; raise what the broker's client raises if it is away."""
    with current_app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, timeout=5)
    return [name for answer in current_app.control.ping(timeout=3) or [] for name in answer]


def _note(name: str) -> None:
    TaskRun.objects.update_or_create(name=name, defaults={"ran_at": timezone.now()})
