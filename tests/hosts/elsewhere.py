"""Settings of a portal that keeps the app's tables in a database of their own."""

import os

from portal.settings import *  # noqa: F403

DATABASES = {
    alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(os.environ["DATA_DIR"], f"{alias}.sqlite3")}  # noqa: PTH118
    for alias in ("default", "uploads")
}
DATABASE_ROUTERS = ["tests.hosts.routers.OwnDatabase"]
ALLOWED_HOSTS = ["testserver"]
LOG_LEVEL = "ERROR"
