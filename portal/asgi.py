"""The ASGI application (docs/servers.md)."""

from __future__ import annotations

import os

from uploads.contrib.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

application = get_asgi_application()
