from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from portal import api, views
from uploads.contrib.prometheus import metrics

handler404 = "uploads.protocols.onlyoffice.errors.page_not_found"

urlpatterns = [
    # Before the app's own, which only says whether a login is good.
    re_path(
        r"^api/2\.0/authentication(?:\.json)?/?$", api.AuthenticationView.as_view({"post": "create", "get": "check"})
    ),
    path("", include("uploads.protocols.onlyoffice.urls")),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("", views.home, name="home"),
    path("folders/<int:folder_id>/", views.folder, name="folder"),
    path("files/<int:file_id>/download", views.download, name="download"),
    path("login/", auth.LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("metrics", metrics, name="metrics"),
    path("healthz", views.healthz, name="healthz"),
    path("admin/", admin.site.urls),
]
