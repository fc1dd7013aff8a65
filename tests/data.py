"""Random bytes for tests, and their SHA-256."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from functools import lru_cache

MIB = 2**20


@lru_cache(maxsize=8)
def some_bytes(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def sha256(blocks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()
