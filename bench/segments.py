"""Settings of the demo portal that store files above 20 MiB as segments.

Elsewhere only files of more than 10,000 parts are stored as segments.
"""

from __future__ import annotations

from portal.settings import *  # noqa: F403

UPLOADS |= {"PART_SIZE": 5 * 2**20, "STORES": {"default": {"MAX_PARTS": 4}}}  # noqa: F405
