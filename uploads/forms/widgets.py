"""File input widgets with ``<upload-drop>`` around the input and tokens of uploaded files."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any

from django import forms
from django.core.exceptions import ImproperlyConfigured
from django.forms.widgets import FILE_INPUT_CONTRADICTION, Script
from django.urls import NoReverseMatch, reverse

from uploads._internal import conf
from uploads.forms.middleware import csp_nonce, current_parameters, current_user
from uploads.forms.routes import form_routes
from uploads.forms.tokens import KEY, Limits, pending_session, ticket


class Token(str):
    """The value that a form submits for a file that is already stored."""

    __slots__ = ()


class _Script(Script):
    """A script with the nonce of the request's content security policy."""

    @property
    def attributes(self) -> dict[str, Any]:
        nonce = csp_nonce()
        return self._attributes | {"nonce": nonce} if nonce else self._attributes

    @attributes.setter
    def attributes(self, attributes: dict[str, Any]) -> None:
        self._attributes = attributes


class UploadWidget(forms.Widget):
    """Wrap a ClearableFileInput, which remains without JavaScript or for anonymous users.

    This is no FileInput itself: packages such as crispy-forms draw those with templates of their own.
    """

    template_name = "uploads/forms/upload.html"
    needs_multipart_form = True
    allow_multiple_selected = False
    limits = Limits()
    sent: Sequence[Token] = ()
    """Tokens of a form that is displayed again; Django's own widget would lose them."""

    class Media:
        js = (_Script("uploads/upload-drop.js", type="module"),)

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        self.input = _MultipleInput(attrs) if self.allow_multiple_selected else forms.ClearableFileInput(attrs)
        super().__init__()
        self.attrs = self.input.attrs

    def __deepcopy__(self, memo: dict[int, Any]) -> UploadWidget:
        made: UploadWidget = super().__deepcopy__(memo)
        made.input = deepcopy(self.input, memo)
        made.attrs = made.input.attrs
        return made

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        self.input.is_required = self.is_required
        context = self.input.get_context(name, None, attrs)
        user = current_user()
        files = [file for file in (value or () if self.allow_multiple_selected else [value]) if _is_stored(file)]
        context["files"] = [(posixpath.basename(str(file)), file.url) for file in files]
        context["described_by"] = context["widget"]["attrs"].get("aria-describedby")
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
        self.input.is_required = self.is_required
        plain = self.input.value_from_datadict(data, files, name)
        self.sent = given = [Token(text) for text in dict.fromkeys(_all(data, f"{name}-token")) if text]
        if not given:
            return None if plain == [] else plain
        if plain is False or plain is FILE_INPUT_CONTRADICTION:  # "clear" is ticked as well
            return FILE_INPUT_CONTRADICTION
        return [*(plain or ()), *given] if self.allow_multiple_selected else given[-1]

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return self.input.value_omitted_from_data(data, files, name) and f"{name}-token" not in data

    def use_required_attribute(self, initial: Any) -> bool:
        return self.input.use_required_attribute(initial)


class _MultipleInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class MultipleUploadWidget(UploadWidget):
    allow_multiple_selected = True


class AdminUploadWidget(UploadWidget):
    """Render the widget with the markup of the admin."""

    template_name = "uploads/forms/admin_upload.html"


def _is_stored(file: Any) -> bool:
    """Return True if a link can be shown, as ClearableFileInput does."""
    return bool(file and getattr(file, "url", ""))


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
