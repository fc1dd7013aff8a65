"""Build the location's URL under the namespaces and path parameters of its include."""

from __future__ import annotations

from django.urls import NoReverseMatch
from rest_framework.request import Request

from uploads._internal.http import routes
from uploads._internal.http.body import django_request
from uploads._internal.http.exceptions import LocationUnknown


def location_url(request: Request) -> str:
    """Return the location's URL without its query; raise LocationUnknown.

    The location is looked up in the include of the requested view.
    """
    try:
        path = routes.reverse_sibling(django_request(request), "location", "folder_id", "file_id", "session_id")
    except NoReverseMatch as error:
        raise LocationUnknown from error
    return request.build_absolute_uri(path)
