"""URLs of the onlyoffice protocol. Include them at the site's root.

Clients build the location from the origin alone: ``path("", include("uploads.urls.onlyoffice"))``.
"""

from __future__ import annotations

from django.urls import URLPattern, path, re_path

from uploads._internal.protocols.onlyoffice.views import (
    LocationViewSet,
    LoginViewSet,
    OnlyofficeCreateViewSet,
    OnlyofficeFileViewSet,
    SessionViewSet,
)

app_name = "upload_sessions"

FOLDER = r"(?P<folder_id>[^/]+)"
SESSION = rf"{FOLDER}/session/(?P<session_id>[^/.]+)"

# Spelled out, because Django cannot reverse a URLconf that has an inline (?i).
ANY_CASE = "".join(f"[{letter}{letter.upper()}]" for letter in "chunkeduploader")

location = LocationViewSet.as_view({"post": "dispatch_post", "put": "receive", "get": "retrieve"})
session = SessionViewSet.as_view({"post": "receive", "get": "retrieve", "delete": "destroy"})


def api(route: str, view: object, name: str) -> URLPattern:
    """Return a route of the API; older clients add ``.json`` to it."""
    return re_path(rf"^api/2\.0/files/{route}(?:\.json)?/?$", view, name=name)  # type: ignore[call-overload, no-any-return]


urlpatterns = [
    api(
        f"{FOLDER}/upload/create_session", OnlyofficeCreateViewSet.as_view({"post": "create_session"}), "create_session"
    ),
    api(f"{FOLDER}/upload/check", OnlyofficeCreateViewSet.as_view({"post": "check"}), "check"),
    api(f"{FOLDER}/session", OnlyofficeCreateViewSet.as_view({"post": "create_plain"}), "create_plain"),
    api(
        r"file/(?P<file_id>[^/]+)/edit_session",
        OnlyofficeCreateViewSet.as_view({"post": "edit_session"}),
        "edit_session",
    ),
    api(f"{FOLDER}/upload", OnlyofficeFileViewSet.as_view({"post": "upload"}), "upload"),
    api(f"{FOLDER}/insert", OnlyofficeFileViewSet.as_view({"post": "insert"}), "insert"),
    api(r"(?P<file_id>[^/]+)/update", OnlyofficeFileViewSet.as_view({"put": "update"}), "update"),
    api(r"file/(?P<file_id>[^/]+)/saveediting", OnlyofficeFileViewSet.as_view({"put": "save_edited"}), "saveediting"),
    api(r"file/(?P<file_id>[^/.]+)", OnlyofficeFileViewSet.as_view({"get": "retrieve"}), "file"),
    api("settings", OnlyofficeCreateViewSet.as_view({"get": "advertise"}), "settings"),
    api(f"{SESSION}/upload", SessionViewSet.as_view({"post": "receive_numbered"}), "session_upload"),
    api(f"{SESSION}/finalize", SessionViewSet.as_view({"put": "finalize"}), "session_finalize"),
    api(SESSION, session, "session"),
    re_path(r"^api/2\.0/authentication(?:\.json)?/?$", LoginViewSet.as_view({"get": "check"}), name="authentication"),
    path("ChunkedUploader.ashx", location, name="location"),
    re_path(rf"^(?:.*/)?{ANY_CASE}\.[aA][sS][hH][xX]$", location),
]
