"""Expose the current user to form fields, which have no request.

A file that waits for a form can only be taken by its own user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from itertools import combinations
from typing import Any

from django.http import HttpRequest, HttpResponseBase

_request: ContextVar[HttpRequest | None] = ContextVar("uploads_form_request", default=None)


class UploadFormMiddleware:
    """Keep the current request for form fields; place this after ``AuthenticationMiddleware``."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        token = _request.set(request)
        try:
            return self.get_response(request)
        finally:
            _request.reset(token)


def claimed(token: str, name: str) -> str:
    """Return the first field that claimed the token in this request; one field per file."""
    request: Any = _request.get()
    if request is None:
        return name
    claims: dict[str, str] = request.__dict__.setdefault("_uploads_claims", {})
    return claims.setdefault(token, name)


def current_parameters() -> Iterator[dict[str, Any]]:
    """Yield each combination of the page's URL parameters, the smallest first.

    The upload URL may share any of them with the page.
    """
    match = getattr(_request.get(), "resolver_match", None)
    given = match.kwargs.items() if match else ()
    for count in range(len(given) + 1):
        yield from map(dict, combinations(given, count))


def current_user() -> Any:
    """Return the signed-in user of the request; None outside a request or for anonymous users."""
    user = getattr(_request.get(), "user", None)
    return user if user is not None and user.is_authenticated else None


def csp_nonce() -> str:
    """Return the nonce of the request's content security policy, from Django's middleware or django-csp's."""
    request = _request.get()
    # A nonce is generated when it is read; until then it is false.
    for name in ("_csp_nonce", "csp_nonce"):
        if getattr(request, name, None) is not None:
            return str(getattr(request, name))
    return ""
