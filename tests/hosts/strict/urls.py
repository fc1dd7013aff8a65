from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("staff/admin/", admin.site.urls),
    path("v1/shelves/<int:folder_id>/uploads/", include("uploads.urls.tus")),
    path("v1/", include("uploads.urls.onlyoffice")),
]
