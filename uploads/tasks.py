"""Celery tasks: thin, repeatable, safe to run twice at once. Schedule them as ``README.md`` says."""

from __future__ import annotations

from celery import current_app, shared_task

from uploads import conf, sessions


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
    return sessions.complete_due(limit=conf.current().BATCH_SIZE)


@shared_task(ignore_result=True, soft_time_limit=3600)
def audit_store(*, fix: bool = False) -> int:
    """Look for what rows and store do not agree on; ``fix`` gives back what is provably ours and nobody's."""
    return sessions.audit(fix=fix).orphans


def workers() -> list[str]:
    """Return the names of the Celery workers that answer; raise what the broker's client raises if it is away."""
    with current_app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, timeout=5)
    return [name for answer in current_app.control.ping(timeout=3) or [] for name in answer]
