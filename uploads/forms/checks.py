"""System checks for upload fields: what they need of URLs and middleware, and whether anybody looks at their files."""

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
    """Tell whether one module of the app finds another, where the names of static files change with their content."""
    said = str(settings.STORAGES.get("staticfiles", {}).get("BACKEND", ""))
    try:
        storage = import_string(said)
    except ImportError:
        return True  # Nothing is known of it.
    return getattr(storage, "support_js_module_import_aggregation", True)


def _check_storages() -> Iterator[CheckMessage]:
    """Look at the storages of the upload fields of all forms that are imported."""
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
        return []  # Another check says what is wrong with the settings.


def _check_forms() -> Iterator[CheckMessage]:
    """Find what fields for uploads need and do not have, and files of forms that nobody checks although others are."""
    middleware = FORM_MIDDLEWARE in settings.MIDDLEWARE
    if not form_routes():
        if middleware:
            hint = 'path("uploads/", include("uploads.urls.forms"))'
            text = f"{FORM_MIDDLEWARE} is there, but the URLs that upload fields send to are not."
            yield Warning(text, hint=hint, id="uploads.W013")
        return
    if not middleware:
        yield Warning(
            f"The URLs of upload fields are included, but {FORM_MIDDLEWARE} is not in MIDDLEWARE.",
            hint="Without it the fields are plain file inputs.",
            id="uploads.W012",
        )
    if not _hashes_modules():
        yield Warning(
            "STORAGES['staticfiles'] gives files names by their content, but not to what modules import.",
            hint="support_js_module_import_aggregation = True in a subclass; docs/browser.md has it.",
            id="uploads.W015",
        )
    yield from _check_storages()
    checked = [alias for alias in aliases() if has_check(alias)]
    if checked and not has_check(FORMS):
        yield Warning(
            f"Files of the destination {checked[0]!r} are checked before they are published, those of forms are not.",
            hint=f"Name a checker in UPLOADS['DESTINATIONS'][{FORMS!r}], or silence this.",
            id="uploads.W011",
        )
