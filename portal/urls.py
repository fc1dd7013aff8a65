from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path

from portal import views

urlpatterns = [
    path("", include("uploads.api.urls")),
    path("", views.home, name="home"),
    path("folders/<int:folder_id>/", views.folder, name="folder"),
    path("files/<int:file_id>/download", views.download, name="download"),
    path("login/", auth.LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("healthz", views.healthz, name="healthz"),
    path("admin/", admin.site.urls),
]
