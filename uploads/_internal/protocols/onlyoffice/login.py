"""The protocol's login for portals that use ``rest_framework.authtoken``.

Include it before the protocol's URLs:
``path("api/2.0/authentication", TokenLogin.as_view({"post": "create", "get": "check"}))``
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import authenticate
from django.utils import timezone
from rest_framework import serializers
from rest_framework.authtoken.models import Token
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.throttling import SimpleRateThrottle

from uploads._internal.http.body import django_request
from uploads._internal.protocols.onlyoffice import schema
from uploads._internal.protocols.onlyoffice.dates import format_date
from uploads._internal.protocols.onlyoffice.requests import read_fields
from uploads._internal.protocols.onlyoffice.responses import enveloped
from uploads._internal.protocols.onlyoffice.views import LoginViewSet

TOKEN_LIFETIME = timedelta(days=365)
"""Lifetime reported to clients; tokens of ``rest_framework.authtoken`` do not expire."""


class Credentials(serializers.Serializer[Any]):
    username = serializers.CharField(max_length=254)
    password = serializers.CharField(max_length=4096, trim_whitespace=False)


class LoginThrottle(SimpleRateThrottle):
    """Limit the logins of an address: ``DEFAULT_THROTTLE_RATES["uploads-login"]``, or 30 a minute."""

    scope = "uploads-login"

    def get_rate(self) -> str | None:
        return str((api_settings.DEFAULT_THROTTLE_RATES or {}).get(self.scope) or "30/min")

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        if request.method != "POST":
            return None
        return self.cache_format % {"scope": self.scope, "ident": self.get_ident(request)}


class TokenLogin(LoginViewSet):
    """Log in with a user name and a password."""

    throttle_classes = (LoginThrottle,)

    def get_authenticators(self) -> Any:
        # There is no request while the schema is generated.
        return [] if getattr(self.request, "method", "POST") == "POST" else super().get_authenticators()

    def acquire_slot(self, request: Request) -> None:
        self.slot.acquire_for_address(str(LoginThrottle().get_ident(request)))

    @schema.LOGIN
    def create(self, request: Request) -> Response:
        """Return an API token for a user name and a password."""
        fields = Credentials(data=read_fields(request))
        fields.is_valid(raise_exception=True)
        user = authenticate(
            django_request(request),
            username=fields.validated_data["username"],
            password=fields.validated_data["password"],
        )
        if user is None:
            message = "User name or password is wrong."
            raise AuthenticationFailed(message)
        token, _ = Token.objects.get_or_create(user=user)
        expires = format_date(timezone.now() + TOKEN_LIFETIME)
        return enveloped({"token": token.key, "expires": expires, "sms": False, "tfa": False})
