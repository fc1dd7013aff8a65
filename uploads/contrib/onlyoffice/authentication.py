"""Authenticators for ONLYOFFICE clients; REST framework's settings name them by dotted path."""

from uploads._internal.protocols.onlyoffice.authentication import (
    BearerAuthentication,
    CookieTokenAuthentication,
    RawTokenAuthentication,
    SameOriginSessionAuthentication,
)

__all__ = [
    "BearerAuthentication",
    "CookieTokenAuthentication",
    "RawTokenAuthentication",
    "SameOriginSessionAuthentication",
]
