"""Include at the site's root, because clients build the location from the origin alone::

path("", include("uploads.api.urls"))
"""

from __future__ import annotations

from django.urls import path, re_path

from uploads.api.views import LocationViewSet, SessionViewSet

app_name = "uploads"

# Spelled out, because Django cannot reverse a URLconf that has an inline (?i).
ANY_CASE = "".join(f"[{letter}{letter.upper()}]" for letter in "chunkeduploader")

location = LocationViewSet.as_view({"post": "receive", "get": "retrieve"})

urlpatterns = [
    re_path(
        r"^api/2\.0/files/(?P<folder_id>[^/]+)/upload/create_session(?:\.json)?/?$",
        SessionViewSet.as_view({"post": "create"}),
        name="create_session",
    ),
    path("ChunkedUploader.ashx", location, name="location"),
    re_path(rf"^(?:.*/)?{ANY_CASE}\.[aA][sS][hH][xX]$", location),
]
