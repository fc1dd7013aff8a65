from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

django_application = get_wsgi_application()

_CHARSET = re.compile(r";\s*charset=\"?([^\s;\"]*)\"?", re.IGNORECASE)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Call Django; remove a charset that is not a text encoding.

    Django answers 500 to such a charset before any view runs.
    """
    given = _CHARSET.search(environ.get("CONTENT_TYPE", ""))
    if given and not _decodes_text(given[1]):
        environ["CONTENT_TYPE"] = _CHARSET.sub("", environ["CONTENT_TYPE"])
    return django_application(environ, start_response)


def _decodes_text(charset: str) -> bool:
    try:
        b"".decode(charset)
    except (LookupError, ValueError):
        return False
    return True
