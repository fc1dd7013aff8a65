"""System checks of the settings, without any I/O. ``conf`` has each setting's check id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import storages
from django.utils.module_loading import import_string

from uploads._internal import conf, registry, stores
from uploads._internal.conf import DEFAULT_ALIAS
from uploads.destinations import Destination, aliases, get_destination
from uploads.destinations.registry import configured, storages_in_use

IN_TRANSACTION = (
    "runs every request in a transaction, so that no upload can be acknowledged",
    "Exempt the upload URLs from it; until then, they answer transaction_open.",
    "uploads.W004",
)
READS_BODIES = (
    "reads the bodies of all requests, so that uploads receive no bytes",
    "Exempt the upload URLs from it; until then, they answer body_consumed.",
    "uploads.W009",
)
HARMFUL = {
    "reversion.middleware.RevisionMiddleware": IN_TRANSACTION,
    "drf_api_logger.middleware.api_logger_middleware.APILoggerMiddleware": READS_BODIES,
    "request_logging.middleware.LoggingMiddleware": READS_BODIES,
}
"""Middleware known to break uploads, each with its effect, the remedy and the check id.

The doctor finds more.
"""
EXPIRY, COMPLETION = "uploads.tasks.expire_sessions", "uploads.tasks.complete_sessions"


def check_settings(**_: Any) -> list[CheckMessage]:
    return list(_check_settings())


def check_limits(**_: Any) -> list[CheckMessage]:
    """Warn if neither a user's storage nor the upload rate is limited; for ``check --deploy``."""
    with suppress(ImproperlyConfigured):
        if conf.current().MAX_FILE_SIZE is None and not (_has_quota() or _has_rate()):
            text = "Uploads are unlimited: neither the file size, nor the space of a user, nor the rate has a limit."
            hint = "Set UPLOADS['MAX_FILE_SIZE'], a rate for uploads-create, or the destination's free_space()."
            return [Warning(text, hint=hint, id="uploads.W016")]
    return []


def check_authentication(**_: Any) -> list[CheckMessage]:
    """Warn if passwords are accepted only because REST framework accepts them by default; for ``check --deploy``."""
    rest: dict[str, Any] = getattr(settings, "REST_FRAMEWORK", {})
    if conf.raw_settings() and "DEFAULT_AUTHENTICATION_CLASSES" not in rest:
        text = (
            "Uploads accept passwords by BasicAuthentication, REST framework's default, without a second factor or "
            "the limits of your login."
        )
        hint = "Set REST_FRAMEWORK['DEFAULT_AUTHENTICATION_CLASSES'], for example to SessionAuthentication alone."
        return [Warning(text, hint=hint, id="uploads.W020")]
    return []


def _has_quota() -> bool:
    for alias in aliases():
        with suppress(Exception):  # Another check reports a broken destination.
            if type(get_destination(alias)).free_space is not Destination.free_space:
                return True
    return False


def _has_rate() -> bool:
    rates = getattr(settings, "REST_FRAMEWORK", {}).get("DEFAULT_THROTTLE_RATES") or {}
    return any(rates.get(scope) for scope in ("uploads-create", "uploads-chunk", "user"))


def _check_settings() -> Iterator[CheckMessage]:
    given = conf.raw_settings()
    unknown = sorted(set(given) - set(conf.names()))
    if unknown:
        hint = f"Known names: {', '.join(conf.names())}."
        yield Error(f"settings.UPLOADS has unknown names: {', '.join(unknown)}.", hint=hint, id="uploads.E001")
        return
    yield from _check_middleware()
    yield from _check_schedule()
    invalid = list(_check_values(given))
    yield from invalid
    if not invalid:
        yield from _check_destinations()
        yield from _check_storage()
        yield from _check_fields()
        yield from _check_protocols()


def _check_protocols() -> Iterator[CheckMessage]:
    if not any(protocol.is_included() for protocol in registry.registered()):
        yield Warning(
            "The URLconf includes no upload protocol, so nothing can be uploaded.",
            hint='Add path("tus/", include("uploads.urls.tus")), or another protocol, to urlpatterns.',
            id="uploads.W002",
        )
    for protocol in registry.registered():
        yield from protocol.check()


def _check_values(given: dict[str, Any]) -> Iterator[CheckMessage]:
    for field in conf.fields():
        value = given.get(field.name, field.metadata["default"])
        if not field.metadata["valid"](value):
            yield Error(
                f"settings.UPLOADS[{field.name!r}] is {value!r}, which is not a valid {field.metadata['unit']}.",
                hint=field.metadata["text"],
                id=field.metadata["check"],
            )


def _check_destinations() -> Iterator[CheckMessage]:
    config = conf.current()
    if not config.DESTINATION and DEFAULT_ALIAS not in config.DESTINATIONS:
        hint = "Set one; 'uploads.destinations.PlainDestination' needs no code."
        yield Error("settings.UPLOADS has no DESTINATION.", hint=hint, id="uploads.E002")
    for alias in aliases():
        yield from _check_destination(alias)


def has_check(alias: str) -> bool:
    """Return True if a destination checks its files; False if its settings are invalid."""
    try:
        destination: object = get_destination(alias)
    except (ImportError, TypeError):
        return False
    return isinstance(destination, Destination) and destination.has_check  # Another check reports other classes.


def _check_destination(alias: str) -> Iterator[CheckMessage]:
    path = configured(alias)["BACKEND"]
    try:
        found = import_string(path)
    except ImportError as error:
        yield Error(f"The destination {alias!r} of settings.UPLOADS cannot be imported: {error}.", id="uploads.E020")
        return
    if not (isinstance(found, type) and issubclass(found, Destination)):
        yield Error(f"{path} is not a subclass of uploads.destinations.Destination.", id="uploads.E021")
        return
    for name in ("folder", "publish"):
        if getattr(found, name) is getattr(Destination, name):
            yield Error(f"{path} has no method {name}, which every destination needs.", id="uploads.E025")
    doubts: list[str] = []
    try:
        destination = get_destination(alias)
        problems = list(destination.problems())
        if not problems:
            doubts = list(destination.warnings())
    except TypeError as error:
        problems = [str(error)]
    for problem in problems:
        yield Error(f"The destination {alias!r} of settings.UPLOADS is invalid: {problem}.", id="uploads.E041")
    for doubt in doubts:
        yield Warning(
            f"The destination {alias!r} of settings.UPLOADS may refuse all files: {doubt}.",
            hint="Give the field a default, or set it in fill(). Silence this check if the model fills it.",
            id="uploads.W017",
        )


def _check_fields() -> Iterator[CheckMessage]:
    """Find fields of the portal that store their files among uploads."""
    prefix = conf.current().OBJECT_PREFIX
    for model in apps.get_models():
        for field in model._meta.get_fields():  # noqa: SLF001 - Django's documented API
            to = getattr(field, "upload_to", None)
            if isinstance(to, str) and f"{to.strip('/')}/".startswith(f"{prefix}/"):
                yield Warning(
                    f"{field} stores its files at {to!r}, inside the prefix of uploads, {prefix!r}.",
                    hint="The audit can tell them apart; people cannot. Choose another UPLOADS['OBJECT_PREFIX'].",
                    id="uploads.W008",
                )


def _check_middleware() -> Iterator[CheckMessage]:
    for path in settings.MIDDLEWARE:
        if path in HARMFUL:
            does, hint, check = HARMFUL[path]
            yield Warning(f"{path} {does}.", hint=hint, id=check)


def _check_schedule() -> Iterator[CheckMessage]:
    """Warn if Celery's schedule in the settings lacks one of the app's tasks.

    Without a schedule, cron may run the tasks.
    """
    schedule = getattr(settings, "CELERY_BEAT_SCHEDULE", None)
    if not schedule:
        return
    planned = {entry.get("task") for entry in schedule.values()}
    for task in (EXPIRY, COMPLETION):
        if task not in planned:
            yield Warning(
                f"CELERY_BEAT_SCHEDULE has no entry for {task}.",
                hint="Add one, or run manage.py expire_uploads and complete_uploads from cron and silence this check.",
                id="uploads.W010",
            )


def check_bytes(alias: str) -> Iterator[CheckMessage]:
    """Report a storage that encrypts, compresses or marks files, because uploads bypass this."""
    try:
        own = stores.make_store(alias).transformations()
    except ImproperlyConfigured:
        return  # Another check reports this.
    if own and alias not in conf.current().BYPASSED_STORAGES:
        yield Error(
            f"STORAGES[{alias!r}] has its own {', '.join(own)}, which uploads bypass: files are stored as they were "
            "sent, and the storage cannot read them if it expects other bytes.",
            hint=f"Use another storage, or allow this one: UPLOADS['BYPASSED_STORAGES'] = [{alias!r}].",
            id="uploads.E053",
        )


def _check_storage() -> Iterator[CheckMessage]:
    named = conf.current().STORAGE
    if named not in settings.STORAGES:
        yield Error(f"settings.UPLOADS['STORAGE'] names {named!r}, which is not in STORAGES.", id="uploads.E022")
        return
    for alias in storages_in_use() or [named]:
        try:
            store = stores.make_store(alias)
        except ImproperlyConfigured as error:
            yield Error(str(error), hint=stores.SUPPORTED, id="uploads.E023")
            continue
        yield from store.check()
        yield from check_bytes(alias)
        if any(base.__module__.startswith("django_tenants.") for base in type(storages[alias]).__mro__):
            yield Warning(
                f"STORAGES[{alias!r}] has a separate location per tenant, which threads and tasks do not know.",
                hint="Use a storage with one location, and return the tenant's prefix from the destination's prefix().",
                id="uploads.W014",
            )
