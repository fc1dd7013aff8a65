"""The demo portal with the app's tables in a separate database."""

import os

from portal.settings import *  # noqa: F403

DATABASES = {
    alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{os.environ['HOST_DIR']}/{alias}.sqlite3"}
    for alias in ("default", "uploads")
}
DATABASE_ROUTERS = ["tests.hosts.routers.OwnDatabase"]
ALLOWED_HOSTS = ["testserver"]
