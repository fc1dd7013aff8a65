"""Settings of the demo portal with timeouts of seconds instead of minutes."""

import os
from datetime import timedelta

from botocore.config import Config
from django.utils import timezone

from portal.settings import *  # noqa: F403
from portal.settings import CELERY_BEAT_SCHEDULE, S3_STORAGE, UPLOADS

UPLOADS |= {
    "MIN_CHUNK_SIZE": 1,
    "CHUNK_MULTIPLE": 1,
    "LEASE_DURATION": timedelta(seconds=2),
    "COMPLETION_BUDGET": timedelta(seconds=3),
    "READ_TIMEOUT": timedelta(seconds=2),
    "AUDIT_GRACE": timedelta(microseconds=1),
    "INTERIM_RESPONSES": True,
    "MAX_OPEN_SESSIONS": None,
}
if os.environ.get("PATIENT"):  # silent clients keep their sessions by the heartbeat only
    UPLOADS["READ_TIMEOUT"] = timedelta(minutes=5)
if os.environ.get("SMALL_SEGMENTS"):  # segments of two parts each
    UPLOADS |= {"PART_SIZE": 5 * 2**20, "STORES": {"default": {"MAX_PARTS": 2}}}
if os.environ.get("SHA256"):  # each file waits for the hashing task
    UPLOADS |= {"SHA256": True, "CHECK_WAIT": timedelta(seconds=1)}
CORS_ALLOWED_ORIGIN_REGEXES = [r"http://127\.0\.0\.1:\d+"]
for entry in CELERY_BEAT_SCHEDULE.values():
    if entry["task"] != "uploads.tasks.audit_store":
        entry |= {"schedule": 1.0, "options": {"expires": 5}}
S3_STORAGE["OPTIONS"]["client_config"] = S3_STORAGE["OPTIONS"]["client_config"].merge(
    Config(read_timeout=3, connect_timeout=2, retries={"mode": "standard", "total_max_attempts": 2})
)
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

if skew := float(os.environ.get("CLOCK_SKEW", "0")):
    # Simulate a host with a wrong clock: Django reads the time from this function everywhere.
    right = timezone.now
    timezone.now = lambda: right() + timedelta(seconds=skew)

# Wrap requests in transactions, either by setting or by middleware.
if os.environ.get("ATOMIC_REQUESTS"):
    DATABASES["default"]["ATOMIC_REQUESTS"] = True  # noqa: F405
if middleware := os.environ.get("EXTRA_MIDDLEWARE"):
    MIDDLEWARE.append(middleware)  # noqa: F405
