"""Settings of the demo portal for tests; SQLite unless a lane sets a database."""

import os
import tempfile
from datetime import timedelta

os.environ.setdefault("SECRET_KEY", "tests")
os.environ.setdefault("DATA_DIR", tempfile.mkdtemp(prefix="uploads-tests-"))

os.environ.setdefault("LOG_LEVEL", "ERROR")

from portal.settings import *  # noqa: F403

UPLOADS = {**UPLOADS, "HAND_OVER_WAIT": timedelta(milliseconds=20)}  # noqa: F405
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
