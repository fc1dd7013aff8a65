"""The demo portal's settings, for tests: in memory unless a lane says otherwise."""

import os
import tempfile

os.environ.setdefault("SECRET_KEY", "tests")
os.environ.setdefault("DATA_DIR", tempfile.mkdtemp(prefix="uploads-tests-"))

os.environ.setdefault("LOG_LEVEL", "ERROR")

from portal.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
