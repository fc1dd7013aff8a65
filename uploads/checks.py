"""System checks: what can be known of the settings without any I/O. Each setting's check id is in ``conf``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from uploads import conf, doors, stores
from uploads.destinations import Destination

TRANSACTIONAL = frozenset({"reversion.middleware.RevisionMiddleware"})
"""Middleware that is known to wrap requests in a transaction; the doctor finds others by asking."""


def check_settings(**_: Any) -> list[CheckMessage]:
    return list(_check_settings())


def _check_settings() -> Iterator[CheckMessage]:
    given = conf.given()
    unknown = sorted(set(given) - set(conf.names()))
    if unknown:
        hint = f"Known names: {', '.join(conf.names())}."
        yield Error(f"settings.UPLOADS has unknown names: {', '.join(unknown)}.", hint=hint, id="uploads.E001")
        return
    yield from _check_middleware()
    invalid = list(_check_values(given))
    yield from invalid
    if not invalid:
        yield from _check_destination()
        yield from _check_storage()
        yield from _check_fields()
        for door in doors.registered():
            yield from door.check()


def _check_values(given: dict[str, Any]) -> Iterator[CheckMessage]:
    for field in conf.fields():
        value = given.get(field.name, field.default)
        if not field.metadata["valid"](value):
            yield Error(
                f"settings.UPLOADS[{field.name!r}] is {value!r}, which is not a valid {field.metadata['unit']}.",
                hint=field.metadata["text"],
                id=field.metadata["check"],
            )


def _check_destination() -> Iterator[CheckMessage]:
    path = conf.current().DESTINATION
    try:
        found = import_string(path)
    except ImportError as error:
        yield Error(f"settings.UPLOADS['DESTINATION'] cannot be imported: {error}.", id="uploads.E020")
        return
    if not (isinstance(found, type) and issubclass(found, Destination)):
        yield Error(f"{path} is not a subclass of uploads.destinations.Destination.", id="uploads.E021")
        return
    for name in ("folder", "publish"):
        if getattr(found, name) is getattr(Destination, name):
            yield Error(f"{path} has no method {name}, which every destination needs.", id="uploads.E025")


def _check_fields() -> Iterator[CheckMessage]:
    """Find fields of the portal whose files would lie among ours."""
    prefix = conf.current().OBJECT_PREFIX
    for model in apps.get_models():
        for field in model._meta.get_fields():  # noqa: SLF001 - Django's documented API
            to = getattr(field, "upload_to", None)
            if isinstance(to, str) and f"{to.strip('/')}/".startswith(f"{prefix}/"):
                yield Warning(
                    f"{field} stores its files at {to!r}, which is in the place of uploads, {prefix!r}.",
                    hint="The audit tells them apart; people cannot. Set UPLOADS['OBJECT_PREFIX'] to another place.",
                    id="uploads.W008",
                )


def _check_middleware() -> Iterator[CheckMessage]:
    for path in settings.MIDDLEWARE:
        if path in TRANSACTIONAL:
            yield Warning(
                f"{path} runs every request in a transaction, so that no upload could be acknowledged.",
                hint="Put it where it does not see the upload URLs; until then these answer transaction_open.",
                id="uploads.W004",
            )


def _check_storage() -> Iterator[CheckMessage]:
    alias = conf.current().STORAGE
    if alias not in settings.STORAGES:
        yield Error(f"settings.UPLOADS['STORAGE'] names {alias!r}, which is not in STORAGES.", id="uploads.E022")
        return
    try:
        store = stores.get_store(alias)
    except ImproperlyConfigured as error:
        yield Error(str(error), hint=stores.SUPPORTED, id="uploads.E023")
        return
    yield from store.check()
