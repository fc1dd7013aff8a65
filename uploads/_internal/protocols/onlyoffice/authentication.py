"""Authenticators for clients of the protocol, to add to ``DEFAULT_AUTHENTICATION_CLASSES``.

The token classes look tokens up like DRF's ``TokenAuthentication``. Set ``model`` for another table.
"""

from __future__ import annotations

from typing import Any

from rest_framework.authentication import SessionAuthentication, TokenAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
COOKIE = "asc_auth_key"


class BearerAuthentication(TokenAuthentication):
    """Accept ``Authorization: Bearer <token>``, or the header ``ApiKeyBearer`` that one SDK sends."""

    keyword = "Bearer"

    def authenticate(self, request: Request) -> Any:
        # One vendor's library always sends both, including the scheme. The standard header takes precedence.
        words = request.META.get("HTTP_APIKEYBEARER", "").split()
        return super().authenticate(request) or (self.authenticate_credentials(words[-1]) if words else None)


class RawTokenAuthentication(TokenAuthentication):
    """Accept ``Authorization: <token>``, without a scheme."""

    def authenticate(self, request: Request) -> Any:
        words = request.META.get("HTTP_AUTHORIZATION", "").split()
        return self.authenticate_credentials(words[0]) if len(words) == 1 else None


class CookieTokenAuthentication(TokenAuthentication):
    """Accept the token in the cookie ``asc_auth_key``.

    A browser sends cookies with forged requests, too. A request that changes something is therefore accepted only if
    the browser confirms that a page of this origin made it. Programs send the cookie, too, one SDK without its name.
    They are no browsers, so they send no origin headers.
    """

    def authenticate(self, request: Request) -> Any:
        nameless, named = request.COOKIES.get(""), request.COOKIES.get(COOKIE)
        if not (nameless or named):
            return None
        user = self.authenticate_credentials(named or nameless or "")
        # Browsers send the origin of every request that changes something.
        from_program = not {"Origin", "Sec-Fetch-Site", "Referer"} & set(request.headers)
        if not (from_program or is_exempt(request) or is_same_origin(request)):
            raise PermissionDenied(CROSS_ORIGIN)
        return user


class SameOriginSessionAuthentication(SessionAuthentication):
    """Accept Django's session, without a CSRF token for pages of this origin.

    The browser must confirm the origin.
    """

    def enforce_csrf(self, request: Request) -> None:
        if not is_same_origin(request):
            super().enforce_csrf(request)


def is_same_origin(request: Request) -> bool:
    """Return whether the browser confirms that a page of this origin sent the request."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    return request.headers.get("Origin") == f"{request.scheme}://{request.get_host()}"


def is_exempt(request: Request) -> bool:
    """Return whether a forged request is harmless: it only reads, or names an unguessable session."""
    return request.method in SAFE_METHODS or getattr(request, "_dont_enforce_csrf_checks", False)


CROSS_ORIGIN = f"The cookie {COOKIE} is accepted from pages of this origin only; send the token in Authorization."
