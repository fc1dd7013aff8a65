"""System checks for upload fields: URLs, middleware, storages and checks of their files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.forms import BaseForm
from django.utils.module_loading import import_string

from uploads._internal.checks import check_bytes, has_check
from uploads._internal.stores import make_store
from uploads.destinations import aliases
from uploads.destinations.registry import FORMS, storages_in_use
from uploads.forms.destination import PREFIX
from uploads.forms.fields import UploadField, limits_in
from uploads.forms.routes import form_routes

FORM_MIDDLEWARE = "uploads.forms.middleware.UploadFormMiddleware"


def _hashes_modules() -> bool:
    """Return True if the app's JavaScript modules can import each other under hashed file names."""
    backend = str(settings.STORAGES.get("staticfiles", {}).get("BACKEND", ""))
    try:
        storage = import_string(backend)
    except ImportError:
        return True  # The backend cannot be inspected.
    return getattr(storage, "support_js_module_import_aggregation", True)


def _check_fields() -> Iterator[CheckMessage]:
    """Check the upload fields of all imported forms: their storages and functions for ``upload_to``."""
    used: set[str] = set()
    functions: dict[str, Any] = {}
    for form in _subclasses(BaseForm):
        for name, field in getattr(form, "base_fields", {}).items():
            if not isinstance(field, UploadField):
                continue
            try:
                limits = limits_in(field.limits, form, name)
                make_store(limits.storage)
            except ImproperlyConfigured as error:
                text = f"The upload field {name!r} of {form.__module__}.{form.__qualname__} cannot be shown: {error}"
                yield Error(text, id="uploads.E054")
                continue
            used.add(limits.storage)
            if limits.model_field:
                functions[limits.model_field] = form._meta.model._meta.get_field(name)
    for alias in sorted(used - {*storages_in_use()}):
        yield from check_bytes(alias)
    for column in functions.values():
        try:
            column.generate_filename(column.model(), "name")
        except Exception as error:  # The function is the portal's.
            yield Warning(
                f"upload_to of {column} fails for a new instance: {error!r}. "
                f"Files of upload fields go to {PREFIX}/ instead.",
                hint="Use only values that an empty instance has; relations are set after the file is uploaded.",
                id="uploads.W018",
            )


def _subclasses(kind: type) -> Iterator[Any]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def check_forms(**_: Any) -> list[CheckMessage]:
    try:
        return list(_check_forms())
    except ImproperlyConfigured:
        return []  # Another check reports the invalid settings.


def _check_forms() -> Iterator[CheckMessage]:
    """Report missing requirements of upload fields, and form files that skip the portal's check."""
    middleware = FORM_MIDDLEWARE in settings.MIDDLEWARE
    if not form_routes():
        if middleware:
            hint = 'Add path("uploads/", include("uploads.urls.forms")) to urlpatterns.'
            text = f"{FORM_MIDDLEWARE} is in MIDDLEWARE, but the URLconf does not include uploads.urls.forms."
            yield Warning(text, hint=hint, id="uploads.W013")
        return
    if not middleware:
        yield Warning(
            f"The URLconf includes uploads.urls.forms, but {FORM_MIDDLEWARE} is not in MIDDLEWARE.",
            hint="Add it after AuthenticationMiddleware; without it, upload fields are plain file inputs.",
            id="uploads.W012",
        )
    if not _hashes_modules():
        yield Warning(
            "STORAGES['staticfiles'] hashes file names but does not rewrite the imports of JavaScript modules.",
            hint="Set support_js_module_import_aggregation = True in a subclass of the storage; see docs/browser.md.",
            id="uploads.W015",
        )
    yield from _check_fields()
    checked = [alias for alias in aliases() if has_check(alias)]
    if checked and not has_check(FORMS):
        yield Warning(
            f"Files of the destination {checked[0]!r} are checked before publication, but files of forms are not.",
            hint=f"Name a checker in UPLOADS['DESTINATIONS'][{FORMS!r}], or silence this check.",
            id="uploads.W011",
        )
