"""ONLYOFFICE's login for portals with ``rest_framework.authtoken``."""

from uploads._internal.protocols.onlyoffice.login import TokenLogin

__all__ = ["TokenLogin"]
