from __future__ import annotations

from importlib.util import find_spec

from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _


class UploadsConfig(AppConfig):
    name = "uploads"
    label = "upload_sessions"  # Many portals have an app of their own that is called uploads.
    verbose_name = _("Uploads")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        import uploads.protocols.onlyoffice.door  # registers itself
        from uploads.checks import check_settings

        checks.register(check_settings, "uploads")
        if find_spec("drf_spectacular"):
            import uploads.protocols.onlyoffice.schema  # noqa: F401 - describes its views
