"""The demo portal, where files beyond 20 MiB are segments, as elsewhere those of more than 10,000 parts."""

from __future__ import annotations

from portal.settings import *  # noqa: F403

UPLOADS |= {"PART_SIZE": 5 * 2**20, "STORES": {"default": {"MAX_PARTS": 4}}}  # noqa: F405
