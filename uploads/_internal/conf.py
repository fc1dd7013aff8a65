"""The app's settings: the only reader of ``settings.UPLOADS``.

``conf.current()`` gives those of the core that are in force, typed and with defaults; ``conf.of`` those of a door,
which registers its own. ``override_settings`` works.
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
"""Characters of an object's name."""
DEFAULT_ALIAS = "default"
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
        is_name(alias) and (is_name(said) or (isinstance(said, Mapping) and is_name(said.get("BACKEND"))))
        for alias, said in value.items()
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
    """What concerns all doors; the table in ``docs/reference/settings.md`` is made of it and of the doors' own."""

    DESTINATION: str = setting(
        "",
        2,
        "dotted path",
        "The portal's `uploads.destinations.Destination` subclass: short for `DESTINATIONS` with one, `default`.",
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
        "Entries of `STORAGES` whose own way of reading and writing bytes uploads may bypass.",
        lambda value: isinstance(value, (list, tuple, set, frozenset)) and all(map(is_name, value)),
    )
    STORAGE: str = setting("default", 3, "alias", "The entry of `STORAGES` that receives the files.", is_name)
    OBJECT_PREFIX: str = setting(
        "uploads",
        4,
        "path",
        "Where in the storage the default `Destination.object_name` puts files; this portal's alone.",
        lambda value: is_name(value) and value[0] not in "/." and posixpath.normpath(value) == value,
    )
    SESSION_LIFETIME: timedelta = setting(
        timedelta(hours=12), 5, "timedelta", "A session expires this long after its last chunk.", is_duration
    )
    MAX_FILE_SIZE: int | None = setting(
        None, 27, "bytes", "A file has at most this size; `None` means what the store can hold.", is_size_or_none
    )
    ALLOWED_EXTENSIONS: Collection[str] | None = setting(
        None, 28, "collection of extensions", "Like `{'.pdf', '.png'}`; `None` allows all files.", is_extensions
    )
    MAX_OPEN_SESSIONS: int | None = setting(
        100, 29, "count", "Unfinished sessions a user may have at a time; `None` means no limit.", is_size_or_none
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
        "A client that sends nothing for so long gets 408, as does one below 8 KiB/s on the whole (under gunicorn).",
        is_duration,
    )
    LEASE_DURATION: timedelta = setting(
        timedelta(seconds=20),
        10,
        "timedelta",
        "How long a session stays reserved for a writer that shows no sign of life.",
        is_duration,
    )
    HAND_OVER_WAIT: timedelta = setting(
        timedelta(seconds=3),
        36,
        "timedelta",
        "How long a request waits for an older one, whose client is silent, to let go of their session.",
        is_duration,
    )
    PARALLEL_PARTS: int = setting(
        2, 37, "count", "Parts of one request that are stored at a time; each takes a buffer of `PART_SIZE`.", is_size
    )
    STORE_TIMEOUT: timedelta = setting(
        timedelta(minutes=5),
        38,
        "timedelta",
        "No answer of the store is waited for longer; then the request gets 503.",
        is_duration,
    )
    ENCRYPTION: str = setting(
        "AES256",
        11,
        "S3 algorithm",
        "Server-side encryption, where it is asked for: `AES256` or `aws:kms`.",
        is_name,
    )
    ENCRYPTION_KEY_ID: str = setting(
        "", 12, "KMS key", "The KMS key for `aws:kms`; empty means the store's default key.", is_text
    )
    STORES: Mapping[str, Mapping[str, Any]] = setting(
        {},
        34,
        "dictionary",
        "What stores take, by alias of `STORAGES`: `MAX_PARTS` of an upload, and true or false for `CHECKSUMS`, "
        "`ENCRYPTS`, `COMPOSES`, `LISTS_PARTS`, `DELETES_MANY`. The rest is found out once; the doctor prints it.",
        is_capabilities,
    )
    MAX_BUFFER_MEMORY: int = setting(
        512 * MIB, 18, "bytes", "All part buffers of a process together; requests beyond it wait.", is_size
    )
    BUFFER_WAIT: timedelta = setting(
        timedelta(seconds=10), 19, "timedelta", "How long a request waits for buffers before it gets 503.", is_duration
    )
    UPLOAD_THREADS: int = setting(
        15,
        17,
        "count",
        "Chunks of one user that a process receives at a time, as `files/settings` tells clients; more get 429.",
        is_size,
    )
    MAX_FIELDS_SIZE: int = setting(
        64 * 2**10,
        51,
        "bytes",
        "Fields of a request beside its file have at most this size together; lists of names and parts 16 times that.",
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
        10, 14, "count", "How often completing a file is tried before the session is `failed`.", is_size
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
        "A file that the check refuses: `hold` it until an operator releases it, or `delete` it at once.",
        lambda value: value in ("hold", "delete"),
    )
    ON_UNCHECKABLE: str = setting(
        "hold",
        43,
        "choice",
        "A file that cannot be checked: `hold`, `delete`, or `publish` it.",
        lambda value: value in ("hold", "delete", "publish"),
    )
    ON_CHECKER_AWAY: str = setting(
        "wait",
        44,
        "choice",
        "While the checker does not answer: `wait`; after `COMPLETION_ATTEMPTS` tries also `hold` or `publish`.",
        lambda value: value in ("wait", "hold", "publish"),
    )
    CLAMD: str = setting(
        "127.0.0.1:3310",
        46,
        "address",
        "Where clamd listens, for `uploads.contrib.clamd.check`: `host:port`, or the path of a socket.",
        lambda value: is_name(value) and (value[0] == "/" or value.rpartition(":")[2].isdigit()),
    )
    SHA256: bool = setting(
        False,  # noqa: FBT003 - the default
        45,
        "True or False",
        "Whether `session.sha256` has the whole file's hash when it is published; the task reads the file once for it.",
        lambda value: isinstance(value, bool),
    )
    FAILED_LIFETIME: timedelta = setting(
        timedelta(days=7), 32, "timedelta", "A `failed` session is kept so long for an operator to retry.", is_duration
    )
    PERMISSION_CLASSES: Collection[str] | None = setting(
        None,
        50,
        "collection of dotted paths",
        "REST framework's permissions for uploads beside being signed in; `None` means `DEFAULT_PERMISSION_CLASSES`.",
        lambda value: value is None or (isinstance(value, (list, tuple)) and all(map(is_name, value))),
    )
    KEEP_CLIENTS: bool = setting(
        True,  # noqa: FBT003 - the default
        47,
        "True or False",
        "Whether a session's row keeps its client's address and name, for the admin.",
        lambda value: isinstance(value, bool),
    )
    FORM_LIFETIME: timedelta = setting(
        timedelta(days=1),
        48,
        "timedelta",
        "A file that came for a form is kept so long until it is sent.",
        is_duration,
    )
    RETENTION: timedelta = setting(
        timedelta(days=30), 15, "timedelta", "How long the rows of ended sessions are kept.", is_duration
    )
    AUDIT_GRACE: timedelta = setting(
        timedelta(days=1), 30, "timedelta", "Younger things in the store are never taken for orphans.", is_duration
    )
    BATCH_SIZE: int = setting(500, 16, "rows", "How many sessions the expiry task takes at a time.", is_size)


_groups: list[type[Any]] = [Settings]
"""The core's settings, and those of each door."""


def register(group: type[Any]) -> None:
    """Add a door's settings: a frozen dataclass whose fields are made by ``setting``."""
    _groups.append(group)


def fields() -> list[dataclasses.Field[Any]]:
    """Return everything that ``settings.UPLOADS`` can say."""
    return [field for group in _groups for field in dataclasses.fields(group)]


def names() -> list[str]:
    return [field.name for field in fields()]


def raw_settings() -> dict[str, Any]:
    """Return ``settings.UPLOADS`` as the portal wrote it."""
    return getattr(settings, "UPLOADS", {})


def of(group: type[Group]) -> Group:
    """Return a group of the settings in force; raise ImproperlyConfigured for a name that no group has."""
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
