"""Lets form fields see who is asking: what a form may take is bound to its user, and forms know no request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from itertools import combinations
from typing import Any

from django.http import HttpRequest, HttpResponseBase

_request: ContextVar[HttpRequest | None] = ContextVar("uploads_form_request", default=None)


class UploadFormMiddleware:
    """Behind ``AuthenticationMiddleware``."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        token = _request.set(request)
        try:
            return self.get_response(request)
        finally:
            _request.reset(token)


def claimed(token: str, name: str) -> str:
    """Return the name of the field that claimed the token first among those of the request: each file is for one."""
    request: Any = _request.get()
    if request is None:
        return name
    claims: dict[str, str] = request.__dict__.setdefault("_uploads_claims", {})
    return claims.setdefault(token, name)


def current_parameters() -> Iterator[dict[str, Any]]:
    """Yield what the URL of the page may share with another one: none of its parameters, one of them, several."""
    match = getattr(_request.get(), "resolver_match", None)
    given = match.kwargs.items() if match else ()
    for count in range(len(given) + 1):
        yield from map(dict, combinations(given, count))


def current_user() -> Any:
    """Return who asks; None outside a request, and for somebody who has not signed in."""
    user = getattr(_request.get(), "user", None)
    return user if user is not None and user.is_authenticated else None
