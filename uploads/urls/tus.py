"""URLs of tus and resumable uploads. Include them once, or once for each purpose.

Example: ``path("tus/", include("uploads.urls.tus"))``

The folder is part of the URL, ``path("folders/<str:folder_id>/tus/", …)``, or an argument:
``path("avatars/", include("uploads.urls.tus", namespace="avatars"), {"folder_id": "12"})``.

Some clients are configured without the slash: ``path("tus", add_slash)`` redirects them.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from uploads._internal.protocols.direct.views import PartsViewSet, PartViewSet
from uploads._internal.protocols.resources.views import CollectionViewSet, UploadViewSet

app_name = "tus"


@csrf_exempt
def add_slash(request: HttpRequest, **_: object) -> HttpResponse:
    """Redirect to the same URL with a slash. The client repeats its method and body there (308)."""
    path, _mark, query = request.get_full_path().partition("?")
    return HttpResponse(status=308, headers={"Location": f"{path}/" + (f"?{query}" if query else "")})


urlpatterns = [
    path(
        "",
        CollectionViewSet.as_view({"options": "discover", "get": "list", "post": "create", "put": "create"}),
        name="uploads",
    ),
    path(
        "<str:session_id>",
        UploadViewSet.as_view(
            {
                "options": "discover",
                "head": "head",
                "get": "retrieve",
                "patch": "append",
                "put": "put",
                "delete": "destroy",
            }
        ),
        name="upload",
    ),
    path("<str:session_id>/parts", PartsViewSet.as_view({"get": "list", "post": "sign"}), name="parts"),
    path("<str:session_id>/parts/<int:number>", PartViewSet.as_view({"put": "receive"}), name="part"),
    path("<str:session_id>/complete", PartsViewSet.as_view({"post": "complete"}), name="complete"),
]
