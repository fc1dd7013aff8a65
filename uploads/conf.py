"""The app's settings: the only reader of ``settings.UPLOADS``.

``conf.current()`` gives the settings in force, typed and with defaults; ``override_settings`` works.
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

from uploads import parts

MIB = 2**20


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_size_or_none(value: object) -> bool:
    return value is None or _is_size(value)


def _is_duration(value: object) -> bool:
    return isinstance(value, timedelta) and value > timedelta(0)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _setting(default: Any, check: int, unit: str, text: str, valid: Callable[[Any], bool]) -> Any:
    return dataclasses.field(
        default=default, metadata={"check": f"uploads.E{check:03}", "unit": unit, "text": text, "valid": valid}
    )


def _is_extensions(value: object) -> bool:
    return value is None or (
        isinstance(value, (list, tuple, set, frozenset)) and all(_is_text(item) and item[:1] == "." for item in value)
    )


@dataclass(frozen=True)
class Settings:
    """Everything ``settings.UPLOADS`` can say; the table in ``README.md`` is made of it."""

    DESTINATION: str = _setting(
        "", 2, "dotted path", "The portal's `uploads.destinations.Destination` subclass. Required.", _is_name
    )
    STORAGE: str = _setting("default", 3, "alias", "The entry of `STORAGES` that receives the files.", _is_name)
    OBJECT_PREFIX: str = _setting(
        "uploads",
        4,
        "path",
        "Where in the storage the default `Destination.object_name` puts files; this portal's alone.",
        lambda value: _is_name(value) and value[0] not in "/." and posixpath.normpath(value) == value,
    )
    SESSION_LIFETIME: timedelta = _setting(
        timedelta(hours=12), 5, "timedelta", "A session expires this long after its last chunk.", _is_duration
    )
    MIN_CHUNK_SIZE: int = _setting(
        10 * MIB, 6, "bytes", "A chunk that is not the last has at least this size.", _is_size
    )
    CHUNK_MULTIPLE: int = _setting(512, 7, "bytes", "A chunk that is not the last is a multiple of this.", _is_size)
    MAX_CHUNK_SIZE: int | None = _setting(
        None, 8, "bytes", "A chunk has at most this size; `None` means no limit.", _is_size_or_none
    )
    MAX_FILE_SIZE: int | None = _setting(
        None, 27, "bytes", "A file has at most this size; `None` means what the store can hold.", _is_size_or_none
    )
    ALLOWED_EXTENSIONS: Collection[str] | None = _setting(
        None, 28, "collection of extensions", "Like `{'.pdf', '.png'}`; `None` allows all files.", _is_extensions
    )
    MAX_OPEN_SESSIONS: int | None = _setting(
        None, 29, "count", "Unfinished sessions a user may have at a time; `None` means no limit.", _is_size_or_none
    )
    PART_SIZE: int = _setting(
        10 * MIB,
        9,
        "bytes",
        "Preferred size of a storage part, and of each of the two buffers of a request; at least 10 MiB.",
        lambda value: _is_size(value) and 2 * parts.MIN_PART_SIZE <= value <= parts.MAX_PART_SIZE // 2,
    )
    READ_TIMEOUT: timedelta = _setting(
        timedelta(seconds=60),
        31,
        "timedelta",
        "A client that sends nothing for so long gets 408, as does one below 8 KiB/s on the whole (under gunicorn).",
        _is_duration,
    )
    LEASE_DURATION: timedelta = _setting(
        timedelta(seconds=20),
        10,
        "timedelta",
        "How long a session stays reserved for a writer that shows no sign of life.",
        _is_duration,
    )
    ENCRYPTION: str = _setting(
        "AES256", 11, "S3 algorithm", "Server-side encryption for `Encrypted` files: `AES256` or `aws:kms`.", _is_name
    )
    ENCRYPTION_KEY_ID: str = _setting(
        "", 12, "KMS key", "The KMS key for `aws:kms`; empty means the store's default key.", _is_text
    )
    STORE_ENCRYPTS: bool | None = _setting(
        None,
        34,
        "True, False or None",
        "Whether the store encrypts what it is told to; `None` means: try it out with a tiny object.",
        lambda value: value is None or isinstance(value, bool),
    )
    CHECKSUMS: str = _setting(
        "auto",
        35,
        "choice",
        "`on`: every part carries a CRC-32; `off`: none does, for stores that refuse the headers; `auto`: find out.",
        lambda value: value in ("auto", "on", "off"),
    )
    LOCATION_AUTH: str = _setting(
        "owner",
        13,
        "choice",
        "`owner`: a chunk needs its session's owner; `capability`: knowing the location is enough.",
        lambda value: value in ("owner", "capability"),
    )
    MAX_BUFFER_MEMORY: int = _setting(
        512 * MIB, 18, "bytes", "All part buffers of a process together; requests beyond it wait.", _is_size
    )
    BUFFER_WAIT: timedelta = _setting(
        timedelta(seconds=10), 19, "timedelta", "How long a request waits for buffers before it gets 503.", _is_duration
    )
    UPLOAD_THREADS: int = _setting(
        15,
        17,
        "count",
        "Chunks of one user that a process receives at a time, as `files/settings` tells clients; more get 429.",
        _is_size,
    )
    COMPLETION_BUDGET: timedelta = _setting(
        timedelta(seconds=55),
        26,
        "timedelta",
        "How long the request with the last byte waits for the store before it gets 202; the file is completed anyway.",
        _is_duration,
    )
    COMPLETION_ATTEMPTS: int = _setting(
        10, 14, "count", "How often completing a file is tried before the session is `failed`.", _is_size
    )
    FAILED_LIFETIME: timedelta = _setting(
        timedelta(days=7), 32, "timedelta", "A `failed` session is kept so long for an operator to retry.", _is_duration
    )
    STRAY_PARTS: bool | None = _setting(
        None,
        33,
        "True, False or None",
        "Whether the store completes uploads that have parts nobody names (Ceph does not); `None` means: try it out.",
        lambda value: value is None or isinstance(value, bool),
    )
    RETENTION: timedelta = _setting(
        timedelta(days=30), 15, "timedelta", "How long the rows of ended sessions are kept.", _is_duration
    )
    AUDIT_GRACE: timedelta = _setting(
        timedelta(days=1), 30, "timedelta", "Younger things in the store are never taken for orphans.", _is_duration
    )
    BATCH_SIZE: int = _setting(500, 16, "rows", "How many sessions the expiry task takes at a time.", _is_size)

    @property
    def chunk_size(self) -> int:
        """Return the size of chunk that clients are told to send, in bytes."""
        wanted = max(10 * MIB, self.MIN_CHUNK_SIZE)
        wanted = min(wanted, self.MAX_CHUNK_SIZE or wanted)
        return max(wanted // self.CHUNK_MULTIPLE, 1) * self.CHUNK_MULTIPLE


def names() -> list[str]:
    return [field.name for field in dataclasses.fields(Settings)]


def given() -> dict[str, Any]:
    """Return ``settings.UPLOADS`` as the portal wrote it."""
    return getattr(settings, "UPLOADS", {})


@cache
def current() -> Settings:
    """Return the settings in force; raise ImproperlyConfigured for a name that does not exist."""
    unknown = sorted(set(given()) - set(names()))
    if unknown:
        msg = f"settings.UPLOADS has unknown names: {', '.join(unknown)}."
        raise ImproperlyConfigured(msg)
    return Settings(**given())


@receiver(setting_changed)
def _forget(*, setting: str, **_: object) -> None:
    if setting == "UPLOADS":
        current.cache_clear()
