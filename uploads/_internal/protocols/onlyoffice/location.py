"""Where the location is in this portal: under whatever namespaces and path parameters it was included."""

from __future__ import annotations

from django.urls import NoReverseMatch
from rest_framework.request import Request

from uploads._internal.http import routes
from uploads._internal.http.body import below
from uploads._internal.http.exceptions import LocationUnknown


def location_url(request: Request) -> str:
    """Return the location's URL without its query, included as the requested view is; raise LocationUnknown."""
    try:
        path = routes.sibling(below(request), "location", "folder_id", "file_id", "session_id")
    except NoReverseMatch as error:
        raise LocationUnknown from error
    return request.build_absolute_uri(path)
