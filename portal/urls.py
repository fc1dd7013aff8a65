from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path, re_path
from django.views.static import serve
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from portal import views
from portal.health import healthz
from uploads.contrib.onlyoffice.login import TokenLogin
from uploads.contrib.prometheus import metrics
from uploads.urls.tus import add_slash

handler404 = "uploads.contrib.onlyoffice.views.page_not_found"

urlpatterns = [
    # Before the app's own view, which only verifies a login.
    re_path(r"^api/2\.0/authentication(?:\.json)?/?$", TokenLogin.as_view({"post": "create", "get": "check"})),
    path("", include("uploads.urls.onlyoffice")),
    path("tus/", include("uploads.urls.tus")),
    path("tus", add_slash),
    path("folders/<str:folder_id>/tus/", include("uploads.urls.tus", namespace="folder-tus")),
    path("uppy/", include("uploads.urls.uppy")),
    path("folders/<str:folder_id>/uppy/", include("uploads.urls.uppy", namespace="folder-uppy")),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("", views.home, name="home"),
    path("folders/<int:folder_id>/", views.folder, name="folder"),
    path("folders/<int:folder_id>/change", views.change_folder, name="change-folder"),
    path("folders/<int:folder_id>/uppy", views.uppy, name="uppy"),
    path("static-uppy/<path:path>", serve, {"document_root": settings.UPPY_DIR}, name="uppy-static"),
    path("files/<int:file_id>/", views.file, name="file"),
    path("files/<int:file_id>/download", views.download, name="download"),
    path("files/<int:file_id>/versions/<int:version>", views.download, name="version"),
    path("trash/", views.trash, name="trash"),
    path("documents/", views.documents, name="documents"),
    path("documents/<int:document_id>/", views.documents, name="document"),
    path("documents/<int:document_id>/file", views.document_file, name="document-file"),
    path("uploads/", include("uploads.urls.forms")),
    path("login/", auth.LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("metrics", metrics, name="metrics"),
    path("healthz", healthz, name="healthz"),
    path("admin/", admin.site.urls),
]
