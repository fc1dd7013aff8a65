"""The demo portal, where every two parts are a multipart upload of their own, as in files of more than 10,000 parts."""

from __future__ import annotations

from portal.settings import *  # noqa: F403

UPLOADS |= {"STORES": {"default": {"MAX_PARTS": 2}}}  # noqa: F405
