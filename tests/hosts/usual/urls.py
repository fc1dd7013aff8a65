"""The URLs of portals that have none of their own, also for a second destination."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("folders/<folder_id>/tus/", include("uploads.urls.tus")),
    path("images/folders/<folder_id>/tus/", include("uploads.urls.tus", "images"), {"destination": "images"}),
    path("images/", include("uploads.urls.onlyoffice", "images-onlyoffice"), {"destination": "images"}),
    path("", include("uploads.urls.onlyoffice")),
]
