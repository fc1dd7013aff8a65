from __future__ import annotations

from importlib.util import find_spec

from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _


class UploadsConfig(AppConfig):
    name = "uploads"
    label = "upload_sessions"  # Many portals have an app named uploads.
    verbose_name = _("Uploads")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        import uploads._internal.protocols.onlyoffice.protocol
        import uploads._internal.protocols.resources.protocol
        import uploads._internal.protocols.uppy.protocol  # Protocols register themselves on import.
        from uploads._internal.checks import check_authentication, check_limits, check_settings
        from uploads.forms.checks import check_forms

        checks.register(check_settings, "uploads")
        checks.register(check_limits, "uploads", deploy=True)
        checks.register(check_authentication, "uploads", deploy=True)
        checks.register(check_forms, "uploads")
        if find_spec("celery"):
            from uploads import signals, tasks

            signals.session_checking.connect(tasks.begin_check)
        if find_spec("drf_spectacular"):
            import uploads._internal.protocols.onlyoffice.schemes  # noqa: F401 - registers itself on import
