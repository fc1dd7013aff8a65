"""Authenticators for clients of the protocol, by dotted path for REST framework's settings."""

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
