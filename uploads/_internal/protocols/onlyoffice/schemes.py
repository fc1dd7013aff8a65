"""OpenAPI names of the protocol's authenticators, imported if drf-spectacular is installed."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from uploads._internal.protocols.onlyoffice import authentication


class _Scheme(OpenApiAuthenticationExtension):
    definition: dict[str, str]

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return self.definition


class BearerScheme(_Scheme):
    target_class = authentication.BearerAuthentication
    name = "bearerAuth"
    definition = {"type": "http", "scheme": "bearer"}


class RawTokenScheme(_Scheme):
    target_class = authentication.RawTokenAuthentication
    name = "rawTokenAuth"
    definition = {"type": "apiKey", "in": "header", "name": "Authorization"}


class CookieTokenScheme(_Scheme):
    target_class = authentication.CookieTokenAuthentication
    name = "cookieTokenAuth"
    definition = {"type": "apiKey", "in": "cookie", "name": "asc_auth_key"}


class SameOriginSessionScheme(_Scheme):
    target_class = authentication.SameOriginSessionAuthentication
    name = "sessionAuth"
    definition = {"type": "apiKey", "in": "cookie", "name": "sessionid"}
