"""File input widgets with ``<upload-drop>`` around the input and tokens of uploaded files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminFileWidget
from django.core.exceptions import ImproperlyConfigured
from django.forms.widgets import FILE_INPUT_CONTRADICTION, Script
from django.urls import NoReverseMatch, reverse

from uploads._internal import conf
from uploads.forms.middleware import current_parameters, current_user
from uploads.forms.routes import form_routes
from uploads.forms.tokens import KEY, Limits, pending_session, ticket


class Token(str):
    """The value that a form submits for a file that is already stored."""

    __slots__ = ()


class UploadWidget(forms.ClearableFileInput):
    """Fall back to ClearableFileInput without JavaScript or for anonymous users."""

    template_name = "uploads/forms/upload.html"
    limits = Limits()
    sent: Sequence[Token] = ()
    """Tokens of a form that is displayed again; Django's own widget would lose them."""

    class Media:
        js = (Script("uploads/upload-drop.js", type="module"),)

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        user = current_user()
        context["upload"] = None
        if user is not None and not context["widget"]["attrs"].get("disabled"):
            most = self.limits.max_size or conf.current().MAX_FILE_SIZE
            context["upload"] = {
                "endpoint": _endpoint(),
                "metadata": json.dumps({KEY: ticket(user, self.limits)}),
                "accept": ",".join(self.limits.extensions) or context["widget"]["attrs"].get("accept", ""),
                "max_size": most,
                "multiple": self.allow_multiple_selected,
                "tokens": [(token, session) for token in self.sent if (session := pending_session(token, user))],
            }
        return context

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        plain = super().value_from_datadict(data, files, name)
        if self.allow_multiple_selected and plain and plain is not FILE_INPUT_CONTRADICTION:
            plain = files.getlist(name) if hasattr(files, "getlist") else files[name]
        self.sent = given = [Token(text) for text in dict.fromkeys(_all(data, f"{name}-token")) if text]
        if not given:
            return plain
        if plain is False or plain is FILE_INPUT_CONTRADICTION:  # "clear" is ticked as well
            return FILE_INPUT_CONTRADICTION
        return [*(plain or ()), *given] if self.allow_multiple_selected else given[-1]

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return super().value_omitted_from_data(data, files, name) and f"{name}-token" not in data


class MultipleUploadWidget(UploadWidget):
    allow_multiple_selected = True


class AdminUploadWidget(UploadWidget, AdminFileWidget):
    """Render the widget with the markup of the admin."""

    template_name = "uploads/forms/admin_upload.html"


def _endpoint() -> str:
    for name in form_routes():
        for parameters in current_parameters():
            with suppress(NoReverseMatch):
                return reverse(name, kwargs=parameters)
    message = 'Upload fields need their URLs: add path("uploads/", include("uploads.urls.forms")) to urlpatterns.'
    raise ImproperlyConfigured(message)


def _all(data: Any, name: str) -> list[str]:
    if hasattr(data, "getlist"):
        return list(data.getlist(name))
    value = data.get(name, [])
    return list(value) if isinstance(value, (list, tuple)) else [value]
