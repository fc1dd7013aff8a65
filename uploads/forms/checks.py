"""System checks for upload fields: URLs, middleware, storages and checks of their files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning
from django.core.exceptions import ImproperlyConfigured
from django.forms import BaseForm
from django.utils.module_loading import import_string

from uploads._internal.checks import check_bytes, has_check
from uploads.destinations import aliases
from uploads.destinations.registry import FORMS, storages_in_use
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


def _check_storages() -> Iterator[CheckMessage]:
    """Check the storages of the upload fields of all imported forms."""
    found: set[str] = set()
    for form in _subclasses(BaseForm):
        for name, field in getattr(form, "base_fields", {}).items():
            if isinstance(field, UploadField):
                found.add(limits_in(field.limits, form, name).storage)
    for alias in sorted(found - {*storages_in_use()}):
        yield from check_bytes(alias)


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
    yield from _check_storages()
    checked = [alias for alias in aliases() if has_check(alias)]
    if checked and not has_check(FORMS):
        yield Warning(
            f"Files of the destination {checked[0]!r} are checked before publication, but files of forms are not.",
            hint=f"Name a checker in UPLOADS['DESTINATIONS'][{FORMS!r}], or silence this check.",
            id="uploads.W011",
        )
