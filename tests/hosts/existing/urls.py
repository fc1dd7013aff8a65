from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("folders/<slug:folder_id>/tus/", include("uploads.protocols.tus.urls")),
    path("", include("uploads.protocols.onlyoffice.urls")),
]
