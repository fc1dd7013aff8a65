"""The app's settings: the only reader of ``settings.UPLOADS``.

``conf.current()`` returns the core's settings in force, typed and with defaults. ``conf.of`` returns the settings that
a protocol registers. ``override_settings`` works.
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from typing import Any, TypeVar, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

from uploads._internal import parts

MIB = 2**20
MAX_NAME = 1024
"""Maximum number of characters in an object's name."""
DEFAULT_ALIAS = "default"
PARTIAL = "+partial"
"""Appended to the alias of a destination for partial uploads to it (tus 1.0, concatenation)."""
Group = TypeVar("Group")


def is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def is_size_or_none(value: object) -> bool:
    return value is None or is_size(value)


def is_duration(value: object) -> bool:
    return isinstance(value, timedelta) and value > timedelta(0)


def is_text(value: object) -> bool:
    return isinstance(value, str)


def is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def setting(default: Any, check: int, unit: str, text: str, valid: Callable[[Any], bool]) -> Any:
    metadata = {"check": f"uploads.E{check:03}", "unit": unit, "text": text, "valid": valid, "default": default}
    return dataclasses.field(default_factory=lambda: default, metadata=metadata)


def is_extensions(value: object) -> bool:
    return value is None or (
        isinstance(value, (list, tuple, set, frozenset)) and all(is_text(item) and item[:1] == "." for item in value)
    )


def is_backends(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        is_name(alias) and (is_name(backend) or (isinstance(backend, Mapping) and is_name(backend.get("BACKEND"))))
        for alias, backend in value.items()
    )


CAPABILITIES = ("CHECKSUMS", "ENCRYPTS", "COMPOSES", "LISTS_PARTS", "DELETES_MANY")


def is_capabilities(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        is_name(alias)
        and isinstance(known, Mapping)
        and all(
            isinstance(known[name], bool)
            if name in CAPABILITIES
            else name == "MAX_PARTS" and is_size(known[name]) and known[name] <= parts.MAX_PARTS
            for name in known
        )
        for alias, known in value.items()
    )


@dataclass(frozen=True)
class Settings:
    """Settings for all protocols.

    The table in ``docs/reference/settings.md`` is generated from these and from the protocols' own settings.
    """

    DESTINATION: str = setting(
        "",
        2,
        "dotted path",
        "The portal's `uploads.destinations.Destination` subclass; short for `DESTINATIONS` with only `default`.",
        is_text,
    )
    DESTINATIONS: Mapping[str, Any] = setting(
        {},
        40,
        "dictionary",
        "Destinations by alias: a dotted path, or `{'BACKEND': path, 'OPTIONS': {…}}`.",
        is_backends,
    )
    BYPASSED_STORAGES: Collection[str] = setting(
        (),
        52,
        "collection of aliases",
        "Entries of `STORAGES` whose own processing of bytes (encryption, compression) uploads may bypass.",
        lambda value: isinstance(value, (list, tuple, set, frozenset)) and all(map(is_name, value)),
    )
    STORAGE: str = setting("default", 3, "alias", "The entry of `STORAGES` that receives the files.", is_name)
    OBJECT_PREFIX: str = setting(
        "uploads",
        4,
        "path",
        "The prefix of files under the default `Destination.object_name`; no other portal may use it.",
        lambda value: is_name(value) and value[0] not in "/." and posixpath.normpath(value) == value,
    )
    SESSION_LIFETIME: timedelta = setting(
        timedelta(hours=12), 5, "timedelta", "A session expires this long after its last chunk.", is_duration
    )
    MAX_FILE_SIZE: int | None = setting(
        None, 27, "bytes", "Maximum size of a file; `None` means the store's limit.", is_size_or_none
    )
    ALLOWED_EXTENSIONS: Collection[str] | None = setting(
        None,
        28,
        "collection of extensions",
        "Accepted files, such as `{'.pdf', '.png'}`; `None` allows all.",
        is_extensions,
    )
    MAX_OPEN_SESSIONS: int | None = setting(
        100, 29, "count", "Maximum unfinished sessions per user; `None` means no limit.", is_size_or_none
    )
    PART_SIZE: int = setting(
        10 * MIB,
        9,
        "bytes",
        "Preferred size of a storage part, and of each buffer of a request; at least 5 MiB.",
        lambda value: is_size(value) and parts.MIN_PART_SIZE <= value <= parts.MAX_PART_SIZE // 2,
    )
    READ_TIMEOUT: timedelta = setting(
        timedelta(seconds=60),
        31,
        "timedelta",
        "A client that sends nothing for this long gets 408, as does one below 8 KiB/s on average (under gunicorn).",
        is_duration,
    )
    LEASE_DURATION: timedelta = setting(
        timedelta(seconds=20),
        10,
        "timedelta",
        "How long a session stays reserved for a writer that does not renew its lease.",
        is_duration,
    )
    HAND_OVER_WAIT: timedelta = setting(
        timedelta(seconds=3),
        36,
        "timedelta",
        "How long a request waits for an older request, whose client is silent, to release the session.",
        is_duration,
    )
    PARALLEL_PARTS: int = setting(
        2, 37, "count", "Parts of one request stored in parallel; each takes a buffer of `PART_SIZE`.", is_size
    )
    STORE_TIMEOUT: timedelta = setting(
        timedelta(minutes=5),
        38,
        "timedelta",
        "Maximum wait for a response of the store; then the request gets 503.",
        is_duration,
    )
    ENCRYPTION: str = setting(
        "AES256",
        11,
        "S3 algorithm",
        "Server-side encryption, if a client requests it: `AES256` or `aws:kms`.",
        is_name,
    )
    ENCRYPTION_KEY_ID: str = setting(
        "", 12, "KMS key", "The KMS key for `aws:kms`; empty means the store's default key.", is_text
    )
    STORES: Mapping[str, Mapping[str, Any]] = setting(
        {},
        34,
        "dictionary",
        "Capabilities of stores by alias of `STORAGES`: `MAX_PARTS` of an upload, and true or false for `CHECKSUMS`, "
        "`ENCRYPTS`, `COMPOSES`, `LISTS_PARTS`, `DELETES_MANY`. The others are detected once; the doctor prints them.",
        is_capabilities,
    )
    MAX_BUFFER_MEMORY: int = setting(
        512 * MIB, 18, "bytes", "Maximum size of all part buffers of a process; further requests wait.", is_size
    )
    BUFFER_WAIT: timedelta = setting(
        timedelta(seconds=10), 19, "timedelta", "How long a request waits for buffers before it gets 503.", is_duration
    )
    UPLOAD_THREADS: int = setting(
        15,
        17,
        "count",
        "Maximum chunks per user that a process receives at a time, as in `files/settings`; further ones get 429.",
        is_size,
    )
    MAX_FIELDS_SIZE: int = setting(
        64 * 2**10,
        51,
        "bytes",
        "Maximum size of all fields of a request besides its file; lists of names and parts may have 16 times that.",
        is_size,
    )
    COMPLETION_BUDGET: timedelta = setting(
        timedelta(seconds=55),
        26,
        "timedelta",
        "How long the request with the last byte waits for the store before it gets 202; the file is completed anyway.",
        is_duration,
    )
    COMPLETION_ATTEMPTS: int = setting(
        10, 14, "count", "Attempts to complete a file before the session is `failed`.", is_size
    )
    CHECK_WAIT: timedelta = setting(
        timedelta(seconds=10),
        49,
        "timedelta",
        "How long the request with the last byte waits for the result of a check before it gets 202.",
        is_duration,
    )
    ON_REFUSED: str = setting(
        "hold",
        42,
        "choice",
        "Handling of a file that the check refuses: `hold` it until an operator releases it, or `delete` it at once.",
        lambda value: value in ("hold", "delete"),
    )
    ON_UNCHECKABLE: str = setting(
        "hold",
        43,
        "choice",
        "Handling of a file that cannot be checked: `hold`, `delete`, or `publish` it.",
        lambda value: value in ("hold", "delete", "publish"),
    )
    ON_CHECKER_AWAY: str = setting(
        "wait",
        44,
        "choice",
        "While the checker is unavailable: `wait`, or `hold` or `publish` after `COMPLETION_ATTEMPTS` attempts.",
        lambda value: value in ("wait", "hold", "publish"),
    )
    CLAMD: str = setting(
        "127.0.0.1:3310",
        46,
        "address",
        "Address of clamd for `uploads.contrib.clamd.check`: `host:port`, or the path of a socket.",
        lambda value: is_name(value) and (value[0] == "/" or value.rpartition(":")[2].isdigit()),
    )
    SHA256: bool = setting(
        False,  # noqa: FBT003 - the default
        45,
        "True or False",
        "Compute the file's `session.sha256` before it is published; the task reads the whole file once.",
        lambda value: isinstance(value, bool),
    )
    FAILED_LIFETIME: timedelta = setting(
        timedelta(days=7),
        32,
        "timedelta",
        "How long a `failed` session is kept for a retry by an operator.",
        is_duration,
    )
    PERMISSION_CLASSES: Collection[str] | None = setting(
        None,
        50,
        "collection of dotted paths",
        "REST framework's permissions for uploads of signed-in users; `None` means `DEFAULT_PERMISSION_CLASSES`.",
        lambda value: value is None or (isinstance(value, (list, tuple)) and all(map(is_name, value))),
    )
    KEEP_CLIENTS: bool = setting(
        True,  # noqa: FBT003 - the default
        47,
        "True or False",
        "Keep the client's address and name in the session's row, for the admin.",
        lambda value: isinstance(value, bool),
    )
    FORM_LIFETIME: timedelta = setting(
        timedelta(days=1),
        48,
        "timedelta",
        "How long an uploaded file waits for its form to be submitted.",
        is_duration,
    )
    RETENTION: timedelta = setting(
        timedelta(days=30), 15, "timedelta", "How long the rows of ended sessions are kept.", is_duration
    )
    AUDIT_GRACE: timedelta = setting(
        timedelta(days=1), 30, "timedelta", "Younger objects in the store never count as orphans.", is_duration
    )
    BATCH_SIZE: int = setting(500, 16, "rows", "Sessions that the expiry task processes at a time.", is_size)


_groups: list[type[Any]] = [Settings]
"""The settings of the core and of each protocol."""


def register(group: type[Any]) -> None:
    """Add a protocol's settings: a frozen dataclass whose fields are made by ``setting``."""
    _groups.append(group)


def fields() -> list[dataclasses.Field[Any]]:
    """Return the fields of all known settings in ``settings.UPLOADS``."""
    return [field for group in _groups for field in dataclasses.fields(group)]


def names() -> list[str]:
    return [field.name for field in fields()]


def raw_settings() -> dict[str, Any]:
    """Return ``settings.UPLOADS`` as the portal wrote it."""
    return getattr(settings, "UPLOADS", {})


def of(group: type[Group]) -> Group:
    """Return a group of the settings in force; raise ImproperlyConfigured for an unknown name."""
    return cast("Group", _read(group))  # type: ignore[arg-type]


@cache
def _read(group: type[Any]) -> Any:
    unknown = sorted(set(raw_settings()) - set(names()))
    if unknown:
        msg = f"settings.UPLOADS has unknown names: {', '.join(unknown)}."
        raise ImproperlyConfigured(msg)
    mine = {field.name for field in dataclasses.fields(group)}
    return group(**{name: value for name, value in raw_settings().items() if name in mine})


current: Callable[[], Settings] = partial(of, Settings)
"""Return the core's settings in force."""


@receiver(setting_changed)
def _forget(*, setting: str, **_: object) -> None:
    if setting == "UPLOADS":
        _read.cache_clear()
