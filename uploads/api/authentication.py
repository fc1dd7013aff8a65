"""The authenticators under their former name: the same as ``uploads.protocols.onlyoffice.authentication``."""

from uploads.protocols.onlyoffice.authentication import (
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
