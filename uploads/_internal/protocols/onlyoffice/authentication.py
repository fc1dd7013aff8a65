"""Authenticators for clients of the protocol, for portals to add to ``DEFAULT_AUTHENTICATION_CLASSES``.

The token classes look tokens up like DRF's ``TokenAuthentication``; set ``model`` for another table.
"""

from __future__ import annotations

from typing import Any

from rest_framework.authentication import SessionAuthentication, TokenAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
COOKIE = "asc_auth_key"


class BearerAuthentication(TokenAuthentication):
    """``Authorization: Bearer <token>``, or the header ``ApiKeyBearer`` that one SDK sends."""

    keyword = "Bearer"

    def authenticate(self, request: Request) -> Any:
        # One vendor's library always sends both, the scheme included; the header that everybody knows counts first.
        words = request.META.get("HTTP_APIKEYBEARER", "").split()
        return super().authenticate(request) or (self.authenticate_credentials(words[-1]) if words else None)


class RawTokenAuthentication(TokenAuthentication):
    """``Authorization: <token>``, without a scheme."""

    def authenticate(self, request: Request) -> Any:
        words = request.META.get("HTTP_AUTHORIZATION", "").split()
        return self.authenticate_credentials(words[0]) if len(words) == 1 else None


class CookieTokenAuthentication(TokenAuthentication):
    """The token in the cookie ``asc_auth_key``.

    A browser sends cookies along with forged requests too, so one that changes something is taken only if
    the browser vouches that a page of this origin made it. Programs send the cookie, too, one SDK without its
    name; they are no browsers, and so say nothing of origins.
    """

    def authenticate(self, request: Request) -> Any:
        nameless, named = request.COOKIES.get(""), request.COOKIES.get(COOKIE)
        if not (nameless or named):
            return None
        user = self.authenticate_credentials(named or nameless or "")
        # Browsers say with every request that changes something where it comes from.
        from_program = not {"Origin", "Sec-Fetch-Site", "Referer"} & set(request.headers)
        if not (from_program or is_exempt(request) or is_same_origin(request)):
            raise PermissionDenied(CROSS_ORIGIN)
        return user


class SameOriginSessionAuthentication(SessionAuthentication):
    """Django's session, without a CSRF token where the browser vouches that a page of this origin asks."""

    def enforce_csrf(self, request: Request) -> None:
        if not is_same_origin(request):
            super().enforce_csrf(request)


def is_same_origin(request: Request) -> bool:
    """Tell whether the browser says that the request comes from a page of this very origin."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    return request.headers.get("Origin") == f"{request.scheme}://{request.get_host()}"


def is_exempt(request: Request) -> bool:
    """Tell whether a forged request could do no harm: it only reads, or names an unguessable session."""
    return request.method in SAFE_METHODS or getattr(request, "_dont_enforce_csrf_checks", False)


CROSS_ORIGIN = f"The cookie {COOKIE} is accepted from pages of this origin only; send the token in Authorization."
