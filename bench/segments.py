"""The demo portal, where every two parts are a multipart upload of their own, as in files beyond 88 GiB."""

from __future__ import annotations

from portal.settings import *  # noqa: F403
from uploads import parts

parts.limits = parts.Limits(planned_parts=4, most_parts=2, copy_size=20 * 2**20)
