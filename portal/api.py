"""The part of the protocol's API that is not about uploads: clients log in here."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import authenticate
from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.authtoken.models import Token
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response

from uploads.protocols.onlyoffice.answers import Error
from uploads.protocols.onlyoffice.dates import format_date
from uploads.protocols.onlyoffice.requests import read_fields
from uploads.protocols.onlyoffice.responses import enveloped
from uploads.protocols.onlyoffice.schema import enveloped as enveloped_schema
from uploads.protocols.onlyoffice.views import LoginViewSet

TOKEN_LIFETIME = timedelta(days=365)
"""What clients are told; the tokens of the demo do not expire."""


class Credentials(serializers.Serializer[Any]):
    username = serializers.CharField(max_length=254)
    password = serializers.CharField(max_length=4096, trim_whitespace=False)


class AuthenticationView(LoginViewSet):
    """Log in."""

    def get_authenticators(self) -> Any:
        # There is no request while the schema is made.
        return [] if getattr(self.request, "method", "POST") == "POST" else super().get_authenticators()

    @extend_schema(
        operation_id="authenticate",
        auth=[],
        request=inline_serializer(
            "LoginBody", {"userName": serializers.CharField(), "password": serializers.CharField()}
        ),
        responses={200: enveloped_schema("Token", serializers.DictField()), 400: Error, 401: Error, 405: Error},
    )
    def create(self, request: Request) -> Response:
        """Return an API token for a user name and a password."""
        fields = Credentials(data=read_fields(request))
        fields.is_valid(raise_exception=True)
        user = authenticate(
            request._request,  # noqa: SLF001 - Django's backends want Django's request
            username=fields.validated_data["username"],
            password=fields.validated_data["password"],
        )
        if user is None:
            message = "User name or password is wrong."
            raise AuthenticationFailed(message)
        token, _ = Token.objects.get_or_create(user=user)
        expires = format_date(timezone.now() + TOKEN_LIFETIME)
        return enveloped({"token": token.key, "expires": expires, "sms": False, "tfa": False})
