from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("tus/", include("uploads.urls.tus")),
    path("", include("uploads.urls.onlyoffice")),
]
