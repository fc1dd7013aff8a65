"""A small host portal: shows how ``uploads`` is embedded."""

from portal.celery import app as celery_app

__all__ = ["celery_app"]
