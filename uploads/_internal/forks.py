"""Reset state in a forked child, which cannot use the parent's threads, locks and connections."""

from __future__ import annotations

import os
from collections.abc import Callable


def after_fork(reset: Callable[[], None]) -> Callable[[], None]:
    """Call ``reset`` in each child that this process forks (gunicorn ``--preload``, uWSGI, multiprocessing)."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=reset)
    return reset
