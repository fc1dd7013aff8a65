"""URLs for the files of forms: ``path("uploads/", include("uploads.urls.forms"))``."""

from __future__ import annotations

from django.urls import include, path

from uploads.destinations.registry import FORMS

app_name = "upload_forms"

urlpatterns = [path("", include("uploads.urls.tus"), {"destination": FORMS})]
