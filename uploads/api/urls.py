"""The protocol's URLs under their former name: the same as ``uploads.protocols.onlyoffice.urls``."""

from uploads.protocols.onlyoffice.urls import app_name, urlpatterns

__all__ = ["app_name", "urlpatterns"]
