"""Where the location is in this portal: under whatever namespaces and path parameters it was included."""

from __future__ import annotations

from django.urls import NoReverseMatch, reverse
from rest_framework.request import Request

from uploads.exceptions import LocationUnknown

OUR_PARAMETERS = frozenset({"folder_id", "file_id", "session_id"})


def location_url(request: Request) -> str:
    """Return the location's URL without its query, included as the requested view is; raise LocationUnknown."""
    match = request._request.resolver_match  # noqa: SLF001 - the same as the request's own
    namespaces = match.namespaces if match and match.namespaces else ["upload_sessions"]
    given = {name: value for name, value in match.kwargs.items() if name not in OUR_PARAMETERS} if match else {}
    try:
        return request.build_absolute_uri(reverse(":".join([*namespaces, "location"]), kwargs=given))
    except NoReverseMatch as error:
        raise LocationUnknown from error
