"""Requests and responses of ONLYOFFICE's protocol, for the portal's own views."""

from uploads._internal.http.views import JSONAlways
from uploads._internal.protocols.onlyoffice.dates import format_date
from uploads._internal.protocols.onlyoffice.errors import page_not_found
from uploads._internal.protocols.onlyoffice.requests import read_fields
from uploads._internal.protocols.onlyoffice.responses import enveloped
from uploads._internal.protocols.onlyoffice.views import LoginViewSet

__all__ = ["JSONAlways", "LoginViewSet", "enveloped", "format_date", "page_not_found", "read_fields"]
