from django.contrib import admin
from django.urls import include, path
from wagtail.documents import urls as documents

urlpatterns = [
    path("admin/", admin.site.urls),
    path("documents/", include(documents)),
    path("collections/<int:folder_id>/tus/", include("uploads.urls.tus")),
    path("", include("uploads.urls.onlyoffice")),
]
